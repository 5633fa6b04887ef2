//! FETCH.

use nom::{
    Parser,
    branch::alt,
    bytes::complete::{tag, tag_no_case, take_while1},
    combinator::{map, opt, value},
    sequence::{delimited, preceded, separated_pair},
};

use super::{
    BodySection, ChangedSince, CommandBody, FetchItem, FetchModifiers, Numbers, PartialRange, SectionText,
    Urgency,
    parse::complete,
    partial::partial_range,
    sequence::sequence_set,
    token::{
        Parsed, ascii, astring, beyond, list1, number64, nz_number, nz_number64, once, opt_if, or_refuse,
        refuse, then,
    },
};

/// Deepest part that a section can name.
pub const SECTION_PARTS_MAX: usize = 100;

/// `fetch = "FETCH" SP sequence-set SP ("ALL" / "FULL" / "FAST" / fetch-att / "(" fetch-att *(SP fetch-att) ")")
/// [SP "(" fetch-modifier *(SP fetch-modifier) ")"]` (RFC 4466 section 2.4); an item that stands twice is told once.
pub(crate) fn fetch(input: &[u8], numbers: Numbers) -> Parsed<'_, CommandBody> {
    let items = alt((list1(fetch_att), fetch_macro, map(fetch_att, |item| vec![item])));
    let (rest, (set, items)) = (then(sequence_set), then(items)).parse(input)?;
    let items = once(items);
    let (rest, modifiers) = opt_if(rest, b" (", then(list1(fetch_modifier)))?;
    let (mut since, mut vanished, mut partial) = (None, false, None);
    for modifier in modifiers.unwrap_or_default() {
        match modifier {
            Modifier::ChangedSince(modseq) if since.is_none() => since = Some(modseq),
            Modifier::Partial(range) if partial.is_none() && numbers == Numbers::Uid => partial = Some(range),
            Modifier::Vanished if numbers == Numbers::Uid => vanished = true,
            Modifier::Vanished => return refuse(input, "VANISHED stands with UID FETCH only"),
            Modifier::Partial(_) if numbers == Numbers::Sequence => {
                return refuse(input, "PARTIAL stands with UID FETCH only");
            }
            Modifier::ChangedSince(_) => return refuse(input, "CHANGEDSINCE stands there twice"),
            Modifier::Partial(_) => return refuse(input, "PARTIAL stands there twice"),
        }
    }
    if vanished && since.is_none() {
        return refuse(input, "VANISHED stands with CHANGEDSINCE only");
    }
    let changed_since = since.map(|modseq| ChangedSince { modseq, vanished });
    Ok((rest, CommandBody::Fetch(numbers, set, items, FetchModifiers { changed_since, partial })))
}

enum Modifier {
    ChangedSince(u64),
    Vanished,
    Partial(PartialRange),
}

/// `fetch-modifier = "CHANGEDSINCE" SP mod-sequence-value / "VANISHED"` (RFC 7162 section 7) `/ "PARTIAL" SP partial-range`
/// (RFC 9394 section 4)
fn fetch_modifier(input: &[u8]) -> Parsed<'_, Modifier> {
    let (rest, name) = item_name(input)?;
    match name.as_str() {
        "VANISHED" => Ok((rest, Modifier::Vanished)),
        "CHANGEDSINCE" => map(then(nz_number64), Modifier::ChangedSince).parse(rest),
        "PARTIAL" => map(then(partial_range), Modifier::Partial).parse(rest),
        _ => refuse(input, "unknown FETCH modifier"),
    }
}

/// `"ALL" / "FULL" / "FAST"`, taken apart (RFC 3501 section 6.4.5)
fn fetch_macro(input: &[u8]) -> Parsed<'_, Vec<FetchItem>> {
    let (rest, name) = item_name(input)?;
    let mut items = vec![FetchItem::Flags, FetchItem::InternalDate, FetchItem::Rfc822Size];
    match name.as_str() {
        "FAST" => {}
        "ALL" => items.push(FetchItem::Envelope),
        "FULL" => items.extend([FetchItem::Envelope, FetchItem::Body]),
        _ => return refuse(input, "unknown FETCH item"),
    }
    Ok((rest, items))
}

/// `fetch-att = "ENVELOPE" / "FLAGS" / … / "BODY" section ["<" number "." nz-number ">"] / …` (with RFC 8474 section 7,
/// RFC 8514 section 5)
fn fetch_att(input: &[u8]) -> Parsed<'_, FetchItem> {
    let (rest, name) = item_name(input)?;
    let item = match name.as_str() {
        "BODY" if rest.first() == Some(&b'[') => return body_section(rest, false),
        "BODY.PEEK" => return body_section(rest, true),
        "BINARY" => return binary_section(rest, false),
        "BINARY.PEEK" => return binary_section(rest, true),
        "BINARY.SIZE" => return map(section_binary, FetchItem::BinarySize).parse(rest),
        "MODSEQ" => FetchItem::ModSeq,
        "UID" => FetchItem::Uid,
        "FLAGS" => FetchItem::Flags,
        "INTERNALDATE" => FetchItem::InternalDate,
        "RFC822.SIZE" => FetchItem::Rfc822Size,
        "ENVELOPE" => FetchItem::Envelope,
        "BODY" => FetchItem::Body,
        "BODYSTRUCTURE" => FetchItem::BodyStructure,
        "RFC822" => FetchItem::Rfc822,
        "RFC822.HEADER" => FetchItem::Rfc822Header,
        "RFC822.TEXT" => FetchItem::Rfc822Text,
        "EMAILID" => FetchItem::EmailId,
        "THREADID" => FetchItem::ThreadId,
        "SAVEDATE" => FetchItem::SaveDate,
        "PREVIEW" => return preview(rest),
        _ => return refuse(input, "unknown FETCH item"),
    };
    Ok((rest, item))
}

/// `"PREVIEW" [SP "(" preview-mod *(SP preview-mod) ")"]`, `preview-mod = "LAZY"` (RFC 8970 section 6). What stands in
/// parentheses behind a single item may be modifiers of FETCH.
fn preview(input: &[u8]) -> Parsed<'_, FetchItem> {
    let lazy = value(FetchItem::Preview(Urgency::Lazy), then(list1(tag_no_case("LAZY"))));
    alt((lazy, |input| Ok((input, FetchItem::Preview(Urgency::Now))))).parse(input)
}

/// The letters, digits and dots that name an item, in capitals.
fn item_name(input: &[u8]) -> Parsed<'_, String> {
    let name = take_while1(|octet: u8| octet.is_ascii_alphanumeric() || octet == b'.');
    map(or_refuse(name, "expected a FETCH item"), |name| ascii(name).to_ascii_uppercase()).parse(input)
}

/// `section ["<" number "." nz-number ">"]`
fn body_section(input: &[u8], peek: bool) -> Parsed<'_, FetchItem> {
    let (rest, ((part, text), partial)) = (section, partial).parse(input)?;
    Ok((rest, FetchItem::BodySection(BodySection { peek, part, text, partial })))
}

/// `"BINARY" [".PEEK"] section-binary [partial]` (RFC 3516 section 7)
fn binary_section(input: &[u8], peek: bool) -> Parsed<'_, FetchItem> {
    let (rest, (part, partial)) = (section_binary, partial).parse(input)?;
    Ok((rest, FetchItem::Binary(BodySection { peek, part, text: SectionText::All, partial })))
}

/// `[partial]`, `partial = "<" number64 "." nz-number64 ">"` (RFC 9051 section 9)
fn partial(input: &[u8]) -> Parsed<'_, Option<(u64, u64)>> {
    let partial = delimited(tag("<"), separated_pair(number64, tag("."), nz_number64), tag(">"));
    let (rest, partial) = opt(partial).parse(input)?;
    if partial.is_none() && rest.first() == Some(&b'<') {
        return refuse(rest, "expected <start.length>");
    }
    Ok((rest, partial))
}

/// `section-binary = "[" [section-part] "]"`
fn section_binary(input: &[u8]) -> Parsed<'_, Vec<u32>> {
    let (rest, (part, text)) = section(input)?;
    match text {
        SectionText::All => Ok((rest, part)),
        _ => refuse(input, "BINARY takes a part only"),
    }
}

/// `section = "[" [section-spec] "]"`
fn section(input: &[u8]) -> Parsed<'_, (Vec<u32>, SectionText)> {
    let whole = map(tag("]"), |_| (Vec::new(), SectionText::All));
    let end = or_refuse(tag("]"), "the section does not end");
    preceded(
        or_refuse(tag("["), "expected a section"),
        alt((whole, (section_spec, end).map(|(section, _)| section))),
    )
    .parse(input)
}

/// The `section-spec` that a text is, all of it.
pub(crate) fn section_of(text: &[u8]) -> Option<(Vec<u32>, SectionText)> {
    complete(text, section_spec).ok()
}

/// `section-spec = section-msgtext / (section-part ["." section-text])`
fn section_spec(input: &[u8]) -> Parsed<'_, (Vec<u32>, SectionText)> {
    if !input.first().is_some_and(u8::is_ascii_digit) {
        return map(section_msgtext, |text| (Vec::new(), text)).parse(input);
    }
    let (mut rest, first) = nz_number(input)?;
    let mut part = vec![first];
    while let Some(after) = rest.strip_prefix(b".") {
        if !after.first().is_some_and(u8::is_ascii_digit) {
            return map(section_text, |text| (part.clone(), text)).parse(after);
        }
        if part.len() == SECTION_PARTS_MAX {
            return beyond(after, "the section is too deep");
        }
        let (after, number) = nz_number(after)?;
        part.push(number);
        rest = after;
    }
    Ok((rest, (part, SectionText::All)))
}

/// `section-text = section-msgtext / "MIME"`
fn section_text(input: &[u8]) -> Parsed<'_, SectionText> {
    match item_name(input) {
        Ok((rest, name)) if name == "MIME" => Ok((rest, SectionText::Mime)),
        _ => section_msgtext(input),
    }
}

/// `section-msgtext = "HEADER" / "HEADER.FIELDS" [".NOT"] SP header-list / "TEXT"`
fn section_msgtext(input: &[u8]) -> Parsed<'_, SectionText> {
    let (rest, name) = item_name(input)?;
    match name.as_str() {
        "HEADER" => Ok((rest, SectionText::Header)),
        "TEXT" => Ok((rest, SectionText::Text)),
        "HEADER.FIELDS" => map(then(header_list), SectionText::HeaderFields).parse(rest),
        "HEADER.FIELDS.NOT" => map(then(header_list), SectionText::HeaderFieldsNot).parse(rest),
        _ => refuse(input, "unknown section"),
    }
}

/// `header-list = "(" header-fld-name *(SP header-fld-name) ")"`
fn header_list(input: &[u8]) -> Parsed<'_, Vec<String>> {
    list1(header_fld_name).parse(input)
}

/// `header-fld-name = astring`, one that a field can have.
fn header_fld_name(input: &[u8]) -> Parsed<'_, String> {
    match any_fld_name(input)? {
        (rest, Some(name)) => Ok((rest, name)),
        (_, None) => refuse(input, "no name of a header field"),
    }
}

/// `header-fld-name = astring`; `None`: no field can have it, which is visible US-ASCII without a colon (RFC 5322 section 2.2).
pub(crate) fn any_fld_name(input: &[u8]) -> Parsed<'_, Option<String>> {
    let (rest, name) = astring(input)?;
    let possible = !name.is_empty() && name.iter().all(|octet| octet.is_ascii_graphic() && *octet != b':');
    Ok((rest, possible.then(|| ascii(&name))))
}
