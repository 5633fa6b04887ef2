//! ARC: whether a chain of custody stands, and who sealed it (RFC 8617).
//!
//! ```text
//! ArcCheck::begin(header) ── the body passes its hashes ── finish(keys) ──► ArcOutcome
//! ```
//!
//! Not here: whom we believe (`policy`), and one more set (`seal`).

use waypost_message::{Field, HeaderBlock};

use super::{
    dkim::{
        body::{Bodies, BodyId, Hashes},
        canonical::Canonicalization,
        key::{KeyError, Keys},
        signature::{Fault, Kind, Seal, Signature, add_unsigned},
        tags::Tags,
    },
    results,
};

/// Most sets of a message (RFC 8617 section 5.2).
pub const SETS_MAX: usize = 50;

/// `cv`: the state of a chain (RFC 8617 section 4.4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ArcResult {
    /// There is no chain.
    None,
    /// It stands.
    Pass,
    /// It does not.
    Fail,
}

impl ArcResult {
    /// As it stands in Authentication-Results.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
        }
    }
}

/// What came of a chain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ArcOutcome {
    /// What came of it.
    pub result: ArcResult,
    /// Why it fails, for people.
    pub reason: Option<String>,
    /// Whether it fails only because DNS did not answer.
    pub is_temporary: bool,
    /// Who sealed a chain that stands, the newest first.
    pub sealers: Vec<Sealer>,
    /// What a further set goes on from; `None`: none may follow.
    pub(crate) chain: Option<Chain>,
}

/// What a further set of a chain goes on from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Chain {
    /// How many sets there are, as far as that can be told.
    pub(crate) sets: usize,
    /// The fields of all in canonical form, which the next seal signs first; none of a chain that does not stand (RFC 8617 section 5.1.2).
    pub(crate) octets: Vec<u8>,
}

/// Who sealed one set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sealer {
    /// `d=` of the seal.
    pub domain: String,
    /// Whether it says that the message passed DMARC when it came there.
    pub saw_dmarc_pass: bool,
}

/// The chain of a message whose body passes.
#[derive(Debug)]
pub(crate) enum ArcCheck {
    None,
    Broken {
        fault: Fault,
        chain: Option<Chain>,
    },
    Sets {
        /// The newest last.
        sets: Vec<Set>,
        /// All their fields in canonical form, which seals sign a part of.
        chain: Vec<u8>,
        /// What the newest signature of the message signs.
        octets: Vec<u8>,
        signature: Box<Signature>,
        body: BodyId,
    },
}

/// One set that is whole.
#[derive(Debug)]
pub(crate) struct Set {
    seal: Seal,
    /// How much of the chain the seal signs.
    signed: usize,
    /// What it signs behind that: itself.
    own: Vec<u8>,
    saw_dmarc_pass: bool,
}

/// The fields of one instance.
#[derive(Default)]
struct Fields<'a> {
    results: Option<Field<'a>>,
    signature: Option<Field<'a>>,
    seal: Option<Field<'a>>,
}

impl ArcCheck {
    /// Takes the chain of a header; `now` in seconds since 1970.
    pub(crate) fn begin(header: &HeaderBlock, bodies: &mut Bodies, now: u64) -> Self {
        match Self::read(header, bodies, now) {
            Ok(check) => check,
            Err(fault) => Self::Broken { fault, chain: Chain::broken(header) },
        }
    }

    fn read(header: &HeaderBlock, bodies: &mut Bodies, now: u64) -> Result<Self, Fault> {
        let fields = gather(header)?;
        let Some(newest) = fields.last() else { return Ok(Self::None) };
        let own = newest.signature.ok_or("a field of a set is missing")?;
        let mut sets = Vec::new();
        let mut chain = Vec::new();
        for (at, fields) in fields.iter().enumerate() {
            sets.push(Set::read(fields, at + 1, &mut chain)?);
        }
        let signature = Signature::parse(own.raw, Kind::Arc)?;
        // RFC 8617 section 4.1.2: seals are not covered by it.
        if signature.fields.iter().any(|name| name == "arc-seal") {
            return Err("the message signature covers a seal");
        }
        if signature.expires.is_some_and(|expires| expires < now) {
            return Err("the message signature has expired");
        }
        let octets = signature.signed_octets(header, &own);
        let body = bodies.add(signature.body_form, signature.length);
        Ok(Self::Sets { sets, chain, octets, signature: Box::new(signature), body })
    }

    /// Where the keys are, those of the newest set first.
    pub(crate) fn key_names(&self) -> impl Iterator<Item = String> {
        let (sets, signature) = match self {
            Self::Sets { sets, signature, .. } => (sets.as_slice(), Some(signature)),
            Self::None | Self::Broken { .. } => (&[][..], None),
        };
        let seals = sets.iter().rev().map(|set| set.seal.key_name());
        signature.map(|signature| signature.seal.key_name()).into_iter().chain(seals)
    }

    /// What came of it (RFC 8617 section 5.2).
    pub(crate) fn finish(self, bodies: &Hashes, keys: &Keys) -> ArcOutcome {
        let (sets, chain, octets, signature, body) = match self {
            Self::None => {
                return ArcOutcome { chain: Some(Chain::default()), ..ArcOutcome::of(ArcResult::None, None) };
            }
            Self::Broken { fault, chain } => {
                return ArcOutcome { chain, ..ArcOutcome::of(ArcResult::Fail, Some(fault)) };
            }
            Self::Sets { sets, chain, octets, signature, body } => (sets, chain, octets, signature, body),
        };
        let failed = |why| ArcOutcome {
            chain: Chain::after(sets.len(), Vec::new()),
            ..ArcOutcome::of(ArcResult::Fail, Some(why))
        };
        if bodies.digest(body) != signature.body_hash || !bodies.is_whole(body) {
            return failed("the body was changed");
        }
        let outcome = keys.verify(&octets, &signature.seal);
        let seals = || sets.iter().rev().try_for_each(|set| set.verify(&chain, keys));
        match outcome.map(|_| ()).and_then(|()| seals()) {
            Ok(()) => ArcOutcome {
                sealers: sets.iter().rev().map(Sealer::of).collect(),
                chain: Chain::after(sets.len(), chain),
                ..ArcOutcome::of(ArcResult::Pass, None)
            },
            // A seal would make it permanent (RFC 8617 section 5.2.1); who gets it next may find the key.
            Err(KeyError::Temporary) => ArcOutcome {
                is_temporary: true,
                ..ArcOutcome::of(ArcResult::Fail, Some("a key could not be looked up"))
            },
            Err(KeyError::Permanent(why)) => failed(why),
            Err(KeyError::Mismatch) => failed("a signature does not match"),
        }
    }
}

impl Chain {
    /// Behind so many sets with these octets. `None`: there are as many as there may be.
    fn after(sets: usize, octets: Vec<u8>) -> Option<Self> {
        (sets < SETS_MAX).then_some(Self { sets, octets })
    }

    /// Behind sets that are no chain. `None`: the newest says already that it failed (RFC 8617 section 5.1), or there are too many.
    fn broken(header: &HeaderBlock) -> Option<Self> {
        let instances = header.fields().filter_map(|field| slot(&field)?.1);
        let newest = instances.max().unwrap_or(0);
        let says_failed = |field: &Field<'_>| {
            let tags = Tags::parse(field.raw).filter(|_| field.is("ARC-Seal"));
            tags.is_some_and(|tags| tags.find("cv") == Some("fail"))
        };
        let is_newest = |field: &Field<'_>| instance(field.raw) == Some(newest);
        let is_told = header.fields().any(|field| says_failed(&field) && is_newest(&field));
        Self::after(newest, Vec::new()).filter(|_| !is_told)
    }
}

/// The fields by instance, none missing and none twice.
fn gather(header: &HeaderBlock) -> Result<Vec<Fields<'_>>, Fault> {
    let mut sets: Vec<Fields<'_>> = Vec::new();
    for field in header.fields() {
        let Some((slot, at)) = slot(&field) else { continue };
        let at = at.filter(|at| (1..=SETS_MAX).contains(at)).ok_or("i= of a field is missing or wrong")?;
        if sets.len() < at {
            sets.resize_with(at, Fields::default);
        }
        if slot(&mut sets[at - 1]).replace(field).is_some() {
            return Err("a field of a set stands twice");
        }
    }
    Ok(sets)
}

/// Which field of a set a field is.
type Slot = for<'a, 'b> fn(&'a mut Fields<'b>) -> &'a mut Option<Field<'b>>;

/// Which field of which set this is, where it says so; `None`: of none.
fn slot(field: &Field<'_>) -> Option<(Slot, Option<usize>)> {
    if field.is("ARC-Seal") {
        Some((|set| &mut set.seal, instance(field.raw)))
    } else if field.is("ARC-Message-Signature") {
        Some((|set| &mut set.signature, instance(field.raw)))
    } else if field.is("ARC-Authentication-Results") {
        Some((|set| &mut set.results, instance_of_results(field.raw)))
    } else {
        None
    }
}

/// `i=` of a seal or a signature.
fn instance(raw: &[u8]) -> Option<usize> {
    let number = Tags::parse(raw)?.number("i")??;
    usize::try_from(number).ok()
}

/// `arc-info = instance [CFWS] ";" authres-payload` (RFC 8617 section 4.1.1)
fn instance_of_results(raw: &[u8]) -> Option<usize> {
    let end = raw.iter().position(|octet| *octet == b';')?;
    instance(&raw[..end])
}

impl Set {
    /// Reads a set, and adds its fields to the chain.
    fn read(fields: &Fields<'_>, at: usize, chain: &mut Vec<u8>) -> Result<Self, Fault> {
        let missing = "a field of a set is missing";
        let (results, signature) = (fields.results.ok_or(missing)?, fields.signature.ok_or(missing)?);
        let own = fields.seal.ok_or(missing)?;
        let tags = Tags::parse(own.raw).ok_or("a seal is no tag list")?;
        let seal = Seal::of(&tags)?;
        // RFC 8617 section 4.1.3
        if tags.find("h").is_some() {
            return Err("a seal has h=");
        }
        match (tags.find("cv"), at) {
            (Some("none"), 1) | (Some("pass"), 2..) => {}
            (Some("fail"), _) => return Err("the chain failed before"),
            _ => return Err("cv= of a seal is wrong"),
        }
        for field in [&results, &signature] {
            Canonicalization::Relaxed.field(field, chain);
        }
        let (signed, mut unsigned) = (chain.len(), Vec::new());
        add_unsigned(Canonicalization::Relaxed, &own, &mut unsigned);
        Canonicalization::Relaxed.field(&own, chain);
        let saw_dmarc_pass = results::says_pass(results.raw, "dmarc");
        Ok(Self { seal, signed, own: unsigned, saw_dmarc_pass })
    }

    fn verify(&self, chain: &[u8], keys: &Keys) -> Result<(), KeyError> {
        let octets = [&chain[..self.signed], &self.own].concat();
        keys.verify(&octets, &self.seal).map(|_| ())
    }
}

impl Sealer {
    fn of(set: &Set) -> Self {
        Self { domain: set.seal.domain.to_string(), saw_dmarc_pass: set.saw_dmarc_pass }
    }
}

impl ArcOutcome {
    fn of(result: ArcResult, reason: Option<&str>) -> Self {
        let reason = reason.map(str::to_owned);
        Self { result, reason, is_temporary: false, sealers: Vec::new(), chain: None }
    }
}
