//! Hashes of a body, made while it passes: one for each form and length that signatures ask for.

use std::fmt;

use mail_auth::common::{
    crypto::{HashContext, HashImpl, Sha256},
    headers::Writer,
};

use super::canonical::{CanonicalBody, Canonicalization};

/// Octets of the canonical form that are hashed at once: words one by one would cost more than their hash.
const GATHERED_BYTES_MAX: usize = 2048;

/// Which of the hashes is meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BodyId(usize);

/// The hashes of a body that passes.
#[derive(Debug, Default)]
pub(crate) struct Bodies(Vec<Body>);

struct Body {
    form: Canonicalization,
    limit: Option<u64>,
    canonical: CanonicalBody,
    sum: Sum,
}

/// What was made of the canonical octets so far.
struct Sum {
    hash: <Sha256 as HashImpl>::Context,
    gathered: Vec<u8>,
    /// Octets that are still to be hashed; `None`: all that come.
    left: Option<u64>,
    /// Whether octets came beyond them.
    is_cut: bool,
}

/// The hashes of a body that has passed.
#[derive(Debug)]
pub(crate) struct Hashes(Vec<(Vec<u8>, bool)>);

impl Bodies {
    /// Asks for a hash of the canonical form, or of so many octets of it.
    pub(crate) fn add(&mut self, form: Canonicalization, limit: Option<u64>) -> BodyId {
        let known = self.0.iter().position(|body| (body.form, body.limit) == (form, limit));
        BodyId(known.unwrap_or_else(|| {
            self.0.push(Body { form, limit, canonical: CanonicalBody::new(form), sum: Sum::new(limit) });
            self.0.len() - 1
        }))
    }

    /// Takes octets of the body.
    pub(crate) fn feed(&mut self, octets: &[u8]) {
        for Body { canonical, sum, .. } in &mut self.0 {
            canonical.feed(octets, &mut |octets| sum.add(octets));
        }
    }

    /// Ends the body.
    pub(crate) fn finish(self) -> Hashes {
        let finish = |Body { canonical, mut sum, .. }: Body| {
            canonical.finish(&mut |octets| sum.add(octets));
            sum.finish()
        };
        Hashes(self.0.into_iter().map(finish).collect())
    }
}

impl Hashes {
    /// The hash.
    pub(crate) fn digest(&self, BodyId(at): BodyId) -> &[u8] {
        self.0.get(at).map_or(&[], |(digest, _)| digest)
    }

    /// Whether the length that was asked for is that of the body.
    pub(crate) fn is_whole(&self, BodyId(at): BodyId) -> bool {
        self.0.get(at).is_some_and(|(_, is_whole)| *is_whole)
    }
}

impl Sum {
    fn new(limit: Option<u64>) -> Self {
        let gathered = Vec::with_capacity(GATHERED_BYTES_MAX);
        Self { hash: Sha256::hasher(), gathered, left: limit, is_cut: false }
    }

    fn add(&mut self, octets: &[u8]) {
        let left = self.left.map(|left| usize::try_from(left).unwrap_or(usize::MAX));
        let taken = left.map_or(octets.len(), |left| left.min(octets.len()));
        self.is_cut |= taken < octets.len();
        self.left = self.left.map(|left| left - taken as u64);
        let octets = &octets[..taken];
        if self.gathered.len() + octets.len() > GATHERED_BYTES_MAX {
            self.flush();
        }
        if octets.len() > GATHERED_BYTES_MAX {
            self.hash.write(octets);
        } else {
            self.gathered.extend_from_slice(octets);
        }
    }

    fn flush(&mut self) {
        self.hash.write(&self.gathered);
        self.gathered.clear();
    }

    fn finish(mut self) -> (Vec<u8>, bool) {
        self.flush();
        let is_whole = !self.is_cut && self.left.is_none_or(|left| left == 0);
        (self.hash.complete().as_ref().to_vec(), is_whole)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("form", &self.form).field("limit", &self.limit).finish_non_exhaustive()
    }
}
