//! A complete command.

use nom::{
    Parser,
    branch::alt,
    bytes::complete::{tag, tag_no_case, take_while1},
    combinator::{map, opt, recognize, value},
    multi::many0_count,
    sequence::terminated,
};

use super::{
    Access, Command, CommandBody, ModSeqs, Numbers, Spelling,
    fetch::fetch,
    flag::store,
    list::{list, lsub, status},
    mailbox::{append, copied, create, mailbox, rename},
    search::search,
    sequence::sequence_set,
    token::{
        Parsed, Problem, ascii, astring_text, atom, command_tag, list0, list1, nstring_text, opt_if,
        or_refuse, refuse, sp, spaced, string_text, then, word,
    },
};

/// Why a command was not understood: a BAD response.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{reason} (octet {position})")]
pub struct Bad {
    /// The command's tag, where it has one.
    pub tag: Option<String>,
    /// What is wrong.
    pub reason: &'static str,
    /// At which octet of the command, from 1.
    pub position: usize,
}

/// The tag at the beginning of a command that is not looked at further.
pub fn tag_of(octets: &[u8]) -> Option<String> {
    terminated(command_tag, sp).parse(octets).ok().map(|(_, tag)| tag)
}

/// `command = tag SP (command-any / command-auth / command-nonauth / command-select) CRLF`: the octets with all literals,
/// without the last CRLF.
pub fn command(octets: &[u8], spelling: Spelling) -> Result<Command, Bad> {
    let bad = |tag: Option<&String>, error: nom::Err<Problem>| {
        let (left, reason) = match error {
            nom::Err::Error(problem) | nom::Err::Failure(problem) => (problem.left, problem.reason),
            nom::Err::Incomplete(_) => (0, "the command ends too early"),
        };
        Bad { tag: tag.cloned(), reason, position: octets.len() - left + 1 }
    };
    let (rest, tag) = terminated(command_tag, sp).parse(octets).map_err(|error| bad(None, error))?;
    match body(rest, spelling) {
        Ok((b"", body)) => Ok(Command { tag, body }),
        Ok((rest, _)) => {
            let reason = "something stands after the command's end";
            Err(bad(Some(&tag), nom::Err::Error(Problem { left: rest.len(), reason })))
        }
        Err(error) => Err(bad(Some(&tag), error)),
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
        "AUTHENTICATE" => authenticate(rest),
        "LOGIN" => login(rest),
        "ENABLE" => enable(rest),
        "ID" => id(rest),
        "UID" => uid(rest, spelling),
        _ => numbered(input, rest, &name, Numbers::Sequence, spelling),
    }
}

/// `select = "SELECT" SP mailbox [SP "(" select-param *(SP select-param) ")"]` (RFC 4466 section 2.1), `condstore-param =
/// "CONDSTORE"` (RFC 7162 section 7); EXAMINE likewise
fn select(input: &[u8], access: Access, spelling: Spelling) -> Parsed<'_, CommandBody> {
    let (rest, name) = then(mailbox(spelling)).parse(input)?;
    let parameter = or_refuse(value((), tag_no_case("CONDSTORE")), "unknown parameter");
    let (rest, parameters) = opt_if(rest, b" (", then(list1(parameter)))?;
    let modseqs = if parameters.is_some() { ModSeqs::Tell } else { ModSeqs::AsBefore };
    Ok((rest, CommandBody::Select(name, access, modseqs)))
}

/// `uid = "UID" SP (copy / fetch / search / store)`, with `uid-expunge` (RFC 4315 section 4) and MOVE (RFC 6851 section 5)
fn uid(input: &[u8], spelling: Spelling) -> Parsed<'_, CommandBody> {
    let (start, ()) = sp(input)?;
    let (rest, name) = or_refuse(word, "expected a command")(start)?;
    match name.as_str() {
        "EXPUNGE" => map(then(sequence_set), |set| CommandBody::Expunge(Some(set))).parse(rest),
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
    map((then(astring_text), then(astring_text)), |(user, password)| CommandBody::Login(user, password))
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
