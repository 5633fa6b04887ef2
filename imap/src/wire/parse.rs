//! A complete command.

use std::borrow::Cow;

use nom::{
    Parser,
    branch::alt,
    bytes::complete::{tag, tag_no_case, take_while1},
    combinator::{eof, map, opt, recognize, value},
    multi::many0_count,
    sequence::terminated,
};

use super::{
    Access, Command, CommandBody, Numbers, Spelling, UidBatches,
    acl::{deleteacl, getacl, listrights, myrights, setacl},
    append::{append, replace},
    fetch::fetch,
    flag::store,
    list::{list, lsub, status},
    mailbox::{copied, create, mailbox, rename},
    metadata::{getmetadata, setmetadata},
    quota::{getquota, getquotaroot, setquota},
    search::search,
    select::select,
    sequence::sequence_set,
    token::{
        Parsed, Problem, Wrong, ascii, astring, astring_text, atom, command_tag, list0, nstring_text,
        nz_number, opt_if, or_refuse, refuse, sp, spaced, string_text, then, word,
    },
};

const AFTER_THE_END: &str = "something stands after the command's end";
const TOO_EARLY: &str = "the command ends too early";

/// Why a command was not understood.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{reason} (octet {position})")]
pub struct Bad {
    /// The command's tag, where it has one.
    pub tag: Option<String>,
    /// What is wrong.
    pub reason: &'static str,
    /// In which way.
    pub wrong: Wrong,
    /// At which octet of the command, from 1.
    pub position: usize,
}

/// The tag at the beginning of a command that is not looked at further; also where nothing follows it.
pub fn tag_of(octets: &[u8]) -> Option<String> {
    let (rest, tag) = command_tag(octets).ok()?;
    matches!(rest.first(), None | Some(b' ' | b'\r' | b'\n')).then_some(tag)
}

impl Bad {
    /// What is wrong with these octets.
    pub(crate) fn new(tag: Option<String>, octets: &[u8], problem: Problem) -> Self {
        let Problem { left, reason, wrong } = problem;
        Self { tag, reason, wrong, position: octets.len() - left + 1 }
    }

    /// Whether nothing is wrong with these octets but that more should follow.
    pub fn is_at_end(&self, octets: &[u8]) -> bool {
        self.position > octets.len()
    }
}

/// `command = tag SP (command-any / command-auth / command-nonauth / command-select) CRLF`: the octets with all literals,
/// without the last CRLF.
pub fn command(octets: &[u8], spelling: Spelling) -> Result<Command, Bad> {
    let whole = (terminated(command_tag, sp), |input| body(input, spelling));
    match complete(octets, whole) {
        Ok((tag, body)) => Ok(Command { tag, body }),
        Err(problem) => Err(Bad::new(tag_of(octets), octets, problem)),
    }
}

/// What a parser makes of octets of which none may be left.
pub(crate) fn complete<'a, T>(
    octets: &'a [u8],
    parser: impl Parser<&'a [u8], Output = T, Error = Problem>,
) -> Result<T, Problem> {
    match terminated(parser, or_refuse(eof, AFTER_THE_END)).parse(octets) {
        Ok((_, value)) => Ok(value),
        Err(nom::Err::Error(problem) | nom::Err::Failure(problem)) => Err(problem),
        Err(nom::Err::Incomplete(_)) => Err(Problem { left: 0, reason: TOO_EARLY, wrong: Wrong::Grammar }),
    }
}

/// The command's name and its arguments.
fn body(input: &[u8], spelling: Spelling) -> Parsed<'_, CommandBody> {
    let (rest, name) = or_refuse(word, "expected a command")(input)?;
    let bare = |body| Ok((rest, body));
    let named = |body: fn(String) -> CommandBody| map(then(mailbox(spelling)), body).parse(rest);
    match name.as_str() {
        "CAPABILITY" => bare(CommandBody::Capability),
        "NOOP" => bare(CommandBody::Noop),
        "CHECK" => bare(CommandBody::Check),
        "LOGOUT" => bare(CommandBody::Logout),
        "STARTTLS" => bare(CommandBody::StartTls),
        "NAMESPACE" => bare(CommandBody::Namespace),
        "IDLE" => bare(CommandBody::Idle),
        // `compress = "COMPRESS" SP algorithm` (RFC 4978 section 5)
        "COMPRESS" => map(then(word), CommandBody::Compress).parse(rest),
        // `comparator-cmd = "COMPARATOR" *(SP comp-order-quoted)` (RFC 5255 section 4.10)
        "COMPARATOR" => map(texts, CommandBody::Comparator).parse(rest),
        "UIDBATCHES" => uid_batches(rest),
        "UNAUTHENTICATE" => bare(CommandBody::Unauthenticate),
        "CLOSE" => bare(CommandBody::Close),
        "UNSELECT" => bare(CommandBody::Unselect),
        "EXPUNGE" => bare(CommandBody::Expunge(None)),
        "SELECT" => select(rest, Access::ReadWrite, spelling),
        "EXAMINE" => select(rest, Access::ReadOnly, spelling),
        "DELETE" => named(CommandBody::Delete),
        "SUBSCRIBE" => named(CommandBody::Subscribe),
        "UNSUBSCRIBE" => named(CommandBody::Unsubscribe),
        "CREATE" => create(rest, spelling),
        "RENAME" => rename(rest, spelling),
        "LIST" => list(rest, spelling),
        "LSUB" => lsub(rest, spelling),
        "STATUS" => status(rest, spelling),
        "APPEND" => append(rest, spelling),
        "REPLACE" => replace(rest, Numbers::Sequence, spelling),
        "AUTHENTICATE" => authenticate(rest),
        "LOGIN" => login(rest),
        "ENABLE" => enable(rest),
        "ID" => id(rest),
        "GETQUOTA" => getquota(rest),
        "GETQUOTAROOT" => getquotaroot(rest, spelling),
        "SETQUOTA" => setquota(rest),
        "SETACL" => setacl(rest, spelling),
        "DELETEACL" => deleteacl(rest, spelling),
        "GETACL" => getacl(rest, spelling),
        "LISTRIGHTS" => listrights(rest, spelling),
        "MYRIGHTS" => myrights(rest, spelling),
        "GETMETADATA" => getmetadata(rest, spelling),
        "SETMETADATA" => setmetadata(rest, spelling),
        "UID" => uid(rest, spelling),
        _ => numbered(input, rest, &name, Numbers::Sequence, spelling),
    }
}

/// `uid = "UID" SP (copy / fetch / search / store)`, with `uid-expunge` (RFC 4315 section 4), MOVE (RFC 6851 section 5)
/// and REPLACE (RFC 8508 section 5)
fn uid(input: &[u8], spelling: Spelling) -> Parsed<'_, CommandBody> {
    let (start, ()) = sp(input)?;
    let (rest, name) = or_refuse(word, "expected a command")(start)?;
    match name.as_str() {
        "EXPUNGE" => map(then(sequence_set), |set| CommandBody::Expunge(Some(set))).parse(rest),
        "REPLACE" => replace(rest, Numbers::Uid, spelling),
        _ => numbered(start, rest, &name, Numbers::Uid, spelling),
    }
}

/// Commands that have a UID form.
fn numbered<'a>(
    start: &'a [u8],
    rest: &'a [u8],
    name: &str,
    numbers: Numbers,
    spelling: Spelling,
) -> Parsed<'a, CommandBody> {
    let copied = |input| copied(input, spelling);
    match name {
        "FETCH" => fetch(rest, numbers),
        "STORE" => store(rest, numbers),
        "SEARCH" => search(rest, numbers),
        "COPY" => map(copied, |(set, name)| CommandBody::Copy(numbers, set, name)).parse(rest),
        "MOVE" => map(copied, |(set, name)| CommandBody::Move(numbers, set, name)).parse(rest),
        _ => refuse(start, "unknown command"),
    }
}

/// `*(SP astring)`, as text
fn texts(input: &[u8]) -> Parsed<'_, Vec<String>> {
    let (rest, texts) = opt_if(input, b" ", then(spaced(astring_text)))?;
    Ok((rest, texts.unwrap_or_default()))
}

/// `message-batches = "UIDBATCHES" SP nz-number [SP nz-number ":" nz-number]` (RFC 10022 section 4)
fn uid_batches(input: &[u8]) -> Parsed<'_, CommandBody> {
    let range = then((nz_number, or_refuse(tag(":"), "expected a colon"), nz_number));
    let (rest, messages) = then(nz_number).parse(input)?;
    let (rest, batches) = opt_if(rest, b" ", range.map(|(first, _, last)| (first, last)))?;
    Ok((rest, CommandBody::UidBatches(UidBatches { messages, batches })))
}

/// `authenticate = "AUTHENTICATE" SP auth-type [SP (base64 / "=")]` (RFC 4959 section 7)
fn authenticate(input: &[u8]) -> Parsed<'_, CommandBody> {
    let initial = map(opt(then(alt((base64, tag("="))))), |octets| octets.map(ascii));
    map((then(map(atom, ascii)), initial), |(name, initial)| CommandBody::Authenticate(name, initial))
        .parse(input)
}

/// `base64 = *(4base64-char) [base64-terminal]`: its characters; the exchange decodes it.
fn base64(input: &[u8]) -> Parsed<'_, &[u8]> {
    let is_base64_char = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/');
    recognize((take_while1(is_base64_char), many0_count(tag("=")))).parse(input)
}

/// `login = "LOGIN" SP userid SP password`
fn login(input: &[u8]) -> Parsed<'_, CommandBody> {
    let text = |octets: Cow<'_, [u8]>| String::from_utf8(octets.into_owned()).ok();
    map((then(astring), then(astring)), |(user, password)| match (text(user), text(password)) {
        (Some(user), Some(password)) => CommandBody::Login(user, password),
        _ => CommandBody::LoginOctets,
    })
    .parse(input)
}

/// `enable = "ENABLE" 1*(SP capability)` (RFC 5161 section 4)
fn enable(input: &[u8]) -> Parsed<'_, CommandBody> {
    map(then(spaced(word)), CommandBody::Enable).parse(input)
}

/// `id = "ID" SP id-params-list` (RFC 2971 section 4)
fn id(input: &[u8]) -> Parsed<'_, CommandBody> {
    let pair = (string_text, then(nstring_text));
    let parameters = alt((value(None, tag_no_case("NIL")), map(list0(pair), Some)));
    map(then(parameters), CommandBody::Id).parse(input)
}
