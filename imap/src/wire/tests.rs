//! Commands as tables.

use proptest::prelude::*;
use waypost_mail::{Flag, Flags, SystemFlags};

use super::{encode::Recent, *};

fn body(text: &str) -> Result<CommandBody, Bad> {
    parse::command(format!("a {text}").as_bytes(), Spelling::Utf7).map(|command| command.body)
}

fn flags(names: &[&str]) -> Flags {
    names.iter().map(|name| Flag::parse(name).unwrap()).collect()
}

fn number(number: u32) -> SequenceSet {
    SequenceSet::Ranges(vec![(SequenceNumber::Number(number), SequenceNumber::Number(number))])
}

fn s(text: &str) -> String {
    text.to_owned()
}

#[test]
fn simple_commands() {
    for (text, expected) in [
        ("CAPABILITY", CommandBody::Capability),
        ("noop", CommandBody::Noop),
        ("Check", CommandBody::Check),
        ("LOGOUT", CommandBody::Logout),
        ("STARTTLS", CommandBody::StartTls),
        ("NAMESPACE", CommandBody::Namespace),
        ("IDLE", CommandBody::Idle),
        ("compress deflate", CommandBody::Compress(s("DEFLATE"))),
        ("COMPARATOR", CommandBody::Comparator(vec![])),
        ("comparator \"cz;*\" i;octet", CommandBody::Comparator(vec![s("cz;*"), s("i;octet")])),
        ("COMPRESS LZW", CommandBody::Compress(s("LZW"))),
        ("unauthenticate", CommandBody::Unauthenticate),
        ("uidbatches 2000", CommandBody::UidBatches(UidBatches { messages: 2000, batches: None })),
        ("UIDBATCHES 1 10:20", CommandBody::UidBatches(UidBatches { messages: 1, batches: Some((10, 20)) })),
        ("UIDBATCHES 1 4:1", CommandBody::UidBatches(UidBatches { messages: 1, batches: Some((4, 1)) })),
        ("CLOSE", CommandBody::Close),
        ("UNSELECT", CommandBody::Unselect),
        ("EXPUNGE", CommandBody::Expunge(None)),
        ("UID EXPUNGE 7", CommandBody::Expunge(Some(number(7)))),
        ("AUTHENTICATE plain", CommandBody::Authenticate(s("plain"), None)),
        ("AUTHENTICATE PLAIN =", CommandBody::Authenticate(s("PLAIN"), Some(s("=")))),
        ("AUTHENTICATE PLAIN AG+/cA==", CommandBody::Authenticate(s("PLAIN"), Some(s("AG+/cA==")))),
        ("LOGIN u \"p \\\" ü\"", CommandBody::Login(s("u"), s("p \" ü"))),
        ("LOGIN {1}\r\nu {2+}\r\np\"", CommandBody::Login(s("u"), s("p\""))),
        ("ENABLE a Utf8=Accept", CommandBody::Enable(vec![s("A"), s("UTF8=ACCEPT")])),
        ("ID NIL", CommandBody::Id(None)),
        ("ID ()", CommandBody::Id(Some(vec![]))),
        ("ID (\"a\" NIL \"b\" \"c\")", CommandBody::Id(Some(vec![(s("a"), None), (s("b"), Some(s("c")))]))),
        ("SELECT iNbOx", CommandBody::Select(s("INBOX"), Access::ReadWrite, parameters(ModSeqs::AsBefore))),
        (
            "EXAMINE \"inbox\"",
            CommandBody::Select(s("INBOX"), Access::ReadOnly, parameters(ModSeqs::AsBefore)),
        ),
        (
            "SELECT \"Entwürfe\"",
            CommandBody::Select(s("Entwürfe"), Access::ReadWrite, parameters(ModSeqs::AsBefore)),
        ),
        (
            "SELECT Entw&APw-rfe",
            CommandBody::Select(s("Entwürfe"), Access::ReadWrite, parameters(ModSeqs::AsBefore)),
        ),
        ("SELECT a (condstore)", CommandBody::Select(s("a"), Access::ReadWrite, parameters(ModSeqs::Tell))),
        ("COPY $ a", CommandBody::Copy(Numbers::Sequence, SequenceSet::Saved, s("a"))),
        ("CREATE a/b/", CommandBody::Create(s("a/b/"), vec![])),
        ("CREATE a (USE (\\Sent \\Foo))", CommandBody::Create(s("a"), vec![s("\\Sent"), s("\\Foo")])),
        ("CREATE a (USE ())", CommandBody::Create(s("a"), vec![])),
        ("DELETE \"a b\"", CommandBody::Delete(s("a b"))),
        ("RENAME a {1}\r\nb", CommandBody::Rename(s("a"), s("b"))),
        ("SUBSCRIBE a", CommandBody::Subscribe(s("a"))),
        ("UNSUBSCRIBE a", CommandBody::Unsubscribe(s("a"))),
        ("LSUB \"\" a/%", CommandBody::Lsub(s(""), s("a/%"))),
        (
            "STATUS inbox (messages RECENT UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE HighestModSeq MAILBOXID AppendLimit)",
            CommandBody::Status(
                s("INBOX"),
                vec![
                    StatusItem::Messages,
                    StatusItem::Recent,
                    StatusItem::UidNext,
                    StatusItem::UidValidity,
                    StatusItem::Unseen,
                    StatusItem::Deleted,
                    StatusItem::Size,
                    StatusItem::HighestModSeq,
                    StatusItem::MailboxId,
                    StatusItem::AppendLimit,
                ],
            ),
        ),
        (
            "STATUS a (UIDNEXT SIZE UIDNEXT)",
            CommandBody::Status(s("a"), vec![StatusItem::UidNext, StatusItem::Size]),
        ),
        ("COPY 7 a", CommandBody::Copy(Numbers::Sequence, number(7), s("a"))),
        ("UID COPY 7 a", CommandBody::Copy(Numbers::Uid, number(7), s("a"))),
        ("MOVE 7 a", CommandBody::Move(Numbers::Sequence, number(7), s("a"))),
        ("uid move 7 a", CommandBody::Move(Numbers::Uid, number(7), s("a"))),
    ] {
        assert_eq!(body(text), Ok(expected), "{text}");
    }
}

fn parameters(modseqs: ModSeqs) -> SelectParameters {
    SelectParameters { modseqs, resync: None }
}

#[test]
fn what_is_no_command_says_where() {
    for (text, position, reason) in [
        ("", 3, "expected a command"),
        ("FOO", 3, "unknown command"),
        ("UID FOO", 7, "unknown command"),
        ("UID NOOP", 7, "unknown command"),
        ("UID", 6, "expected a space"),
        ("NOOP x", 7, "something stands after the command's end"),
        ("SELECT", 9, "expected a space"),
        ("SELECT ", 10, "expected a mailbox name"),
        ("SELECT  a", 10, "expected a mailbox name"),
        ("SELECT a b", 11, "something stands after the command's end"),
        ("SELECT ü", 10, "expected a mailbox name"),
        ("SELECT &", 10, "the mailbox name is not valid modified UTF-7"),
        ("LOGIN u", 10, "expected a space"),
        ("LOGIN u {4}\r\nabc", 16, "the literal is not there"),
        ("LOGIN \"u", 11, "a quoted string does not end or holds what it may not"),
        ("AUTHENTICATE PLAIN A=B", 24, "something stands after the command's end"),
        ("STATUS a ()", 13, "expected an atom"),
        ("STATUS a (SIZE", 17, "expected a space or a closing parenthesis"),
        ("STATUS a (X-FOO)", 13, "unknown STATUS item"),
        ("CREATE a (FOO)", 13, "unknown parameter"),
        ("CREATE a ()", 13, "unknown parameter"),
        ("ID (\"a\")", 10, "expected a space"),
        ("ENABLE", 9, "expected a space"),
        ("COPY 1", 9, "expected a space"),
        ("STORE 1 FLAGS (\\Recent)", 18, "no flag that can be stored"),
        ("FETCH 1 FOO", 11, "unknown FETCH item"),
        ("FETCH 1 (ALL)", 12, "unknown FETCH item"),
        ("FETCH 1 BODY[", 16, "expected a FETCH item"),
        ("FETCH 1 BODY[]<0.0>", 17, "expected <start.length>"),
        ("FETCH 1 BODY[1.MIME.2]", 18, "unknown section"),
        ("FETCH 1 BODY[MIME]", 16, "unknown section"),
        ("FETCH 1 BODY[HEADER.FIELDS (a:)]", 31, "no name of a header field"),
        ("SEARCH", 9, "expected a space"),
        ("SEARCH FOO", 10, "unknown search key"),
        ("SEARCH SENTFOO 1-Feb-1994", 10, "unknown search key"),
        ("SEARCH NOT", 13, "expected a space"),
        ("SEARCH OR SEEN", 17, "expected a space"),
        ("SEARCH ()", 11, "expected a search key"),
        ("SEARCH (SEEN", 15, "expected a space or a closing parenthesis"),
        ("SEARCH LARGER x", 17, "expected a number"),
        ("SEARCH ON 30-Feb-1994", 13, "no such date"),
        ("LIST \"\"", 10, "expected a space"),
        ("LIST (RECURSIVEMATCH) \"\" *", 8, "RECURSIVEMATCH needs SUBSCRIBED or SPECIAL-USE"),
        ("LIST \"\" * (CHILDREN)", 13, "expected RETURN"),
        ("LIST \"\" ()", 12, "expected a pattern"),
        ("APPEND a", 11, "expected a space"),
        ("APPEND a x", 12, "expected the message as a literal"),
        ("APPEND a (\\Seen) \"1-Feb-1994\" {3}", 20, "no such date and time"),
        ("APPEND a ~x", 12, "expected the message as a literal"),
        ("SELECT a (QRESYNC)", 20, "expected a space"),
        ("SELECT a (QRESYNC (1 1 (1:2 1)))", 26, "expected as many UIDs as sequence numbers, both ascending"),
        ("STORE 1 (X 1) FLAGS ()", 12, "unknown STORE modifier"),
        ("FETCH 1 UID (CHANGEDSINCE 0)", 29, "the number begins with zero"),
        ("FETCH 1 UID (FOO)", 16, "unknown FETCH modifier"),
        ("FETCH 1 UID (CHANGEDSINCE 1 VANISHED)", 8, "VANISHED stands with UID FETCH only"),
        ("UID FETCH 1 UID (VANISHED)", 12, "VANISHED stands with CHANGEDSINCE only"),
        ("FETCH 1 UID (CHANGEDSINCE 1 CHANGEDSINCE 1)", 8, "CHANGEDSINCE stands there twice"),
        ("FETCH 1 BINARY[HEADER]", 17, "BINARY takes a part only"),
        ("SEARCH RETURN (FOO) ALL", 18, "unknown result option"),
        ("SEARCH RETURN (ALL)", 22, "expected a space"),
        ("SEARCH MODSEQ \"x\" foo 1", 21, "expected priv, shared or all"),
        ("APPEND a {9223372036854775808}", 13, "the number is too large"),
    ] {
        let bad = body(text).unwrap_err();
        assert_eq!((bad.position, bad.reason), (position, reason), "{text}");
        assert_eq!((bad.tag.as_deref(), bad.wrong), (Some("a"), Wrong::Grammar), "{text}");
    }
}

#[test]
fn fetch_items() {
    let section = |peek, part: &[u32], text, partial| {
        vec![FetchItem::BodySection(BodySection { peek, part: part.to_vec(), text, partial })]
    };
    let fast = [FetchItem::Flags, FetchItem::InternalDate, FetchItem::Rfc822Size];
    for (text, items) in [
        ("FAST", fast.to_vec()),
        ("all", [&fast[..], &[FetchItem::Envelope]].concat()),
        ("FULL", [&fast[..], &[FetchItem::Envelope, FetchItem::Body]].concat()),
        ("BODY", vec![FetchItem::Body]),
        ("BODYSTRUCTURE", vec![FetchItem::BodyStructure]),
        ("BODY[]", section(false, &[], SectionText::All, None)),
        ("body.peek[]<0.1>", section(true, &[], SectionText::All, Some((0, 1)))),
        (
            "BODY[HEADER]<4294967295.9223372036854775807>",
            section(false, &[], SectionText::Header, Some((u64::from(u32::MAX), i64::MAX as u64))),
        ),
        ("BODY[1]", section(false, &[1], SectionText::All, None)),
        ("BODY[1.2.30]", section(false, &[1, 2, 30], SectionText::All, None)),
        ("BODY[1.MIME]", section(false, &[1], SectionText::Mime, None)),
        ("BODY[1.2.TEXT]", section(false, &[1, 2], SectionText::Text, None)),
        (
            "BODY.PEEK[HEADER.FIELDS (From \"To\" {2}\r\nCc)]",
            section(true, &[], SectionText::HeaderFields(vec![s("From"), s("To"), s("Cc")]), None),
        ),
        (
            "BODY[3.HEADER.FIELDS.NOT (x)]",
            section(false, &[3], SectionText::HeaderFieldsNot(vec![s("x")]), None),
        ),
        (
            "(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE RFC822 RFC822.HEADER RFC822.TEXT EMAILID THREADID SAVEDATE)",
            vec![
                FetchItem::Uid,
                FetchItem::Flags,
                FetchItem::InternalDate,
                FetchItem::Rfc822Size,
                FetchItem::Envelope,
                FetchItem::Rfc822,
                FetchItem::Rfc822Header,
                FetchItem::Rfc822Text,
                FetchItem::EmailId,
                FetchItem::ThreadId,
                FetchItem::SaveDate,
            ],
        ),
        ("PREVIEW", vec![FetchItem::Preview(Urgency::Now)]),
        ("preview (lazy)", vec![FetchItem::Preview(Urgency::Lazy)]),
        ("(UID PREVIEW)", vec![FetchItem::Uid, FetchItem::Preview(Urgency::Now)]),
        ("(PREVIEW (LAZY LAZY) UID)", vec![FetchItem::Preview(Urgency::Lazy), FetchItem::Uid]),
    ] {
        assert_eq!(
            body(&format!("FETCH 7 {text}")),
            Ok(CommandBody::Fetch(Numbers::Sequence, number(7), items, FetchModifiers::default())),
            "{text}"
        );
    }
    let twice = body("FETCH 7 (UID BODY[] UID BODY.PEEK[] BODY[])");
    assert_eq!(twice, body("FETCH 7 (UID BODY[] BODY.PEEK[])"));
    let deep = |parts: usize| format!("FETCH 1 BODY[{}]", vec!["1"; parts].join("."));
    assert!(body(&deep(SECTION_PARTS_MAX)).is_ok());
    assert_eq!(body(&deep(SECTION_PARTS_MAX + 1)).unwrap_err().reason, "the section is too deep");
}

#[test]
fn store_forms() {
    for (text, mode, silent, names) in [
        ("FLAGS ()", StoreMode::Replace, false, &[][..]),
        ("FLAGS.SILENT (\\Seen)", StoreMode::Replace, true, &["\\Seen"]),
        ("+flags (\\seen $Forwarded)", StoreMode::Add, false, &["\\Seen", "$Forwarded"]),
        ("-FLAGS.silent \\Deleted \\Draft x", StoreMode::Remove, true, &["\\Deleted", "\\Draft", "x"]),
        ("+FLAGS (\\Important \\Seen)", StoreMode::Add, false, &["\\Seen"]),
        ("+FLAGS \\Important", StoreMode::Add, false, &[]),
    ] {
        let store = Store { mode, silent, flags: flags(names), unchanged_since: None };
        assert_eq!(
            body(&format!("UID STORE 7 {text}")),
            Ok(CommandBody::Store(Numbers::Uid, number(7), store)),
            "{text}"
        );
    }
}

#[test]
fn modifiers_and_result_options() {
    let flags = flags(&["\\Seen"]);
    let store = Store { mode: StoreMode::Add, silent: false, flags, unchanged_since: Some(0) };
    let all = |returned| Search { returned: Some(returned), charset: None, keys: vec![SearchKey::All] };
    let every = vec![
        SearchReturn::Min,
        SearchReturn::Max,
        SearchReturn::All,
        SearchReturn::Count,
        SearchReturn::Save,
    ];
    let since = |modseq, vanished, partial| FetchModifiers {
        changed_since: Some(ChangedSince { modseq, vanished }),
        partial,
    };
    let last = Some(PartialRange { end: PartialEnd::Last, one: 1, other: 30 });
    let part = |peek, part: &[u32], partial| {
        FetchItem::Binary(BodySection { peek, part: part.to_vec(), text: SectionText::All, partial })
    };
    for (text, expected) in [
        (
            "STORE 7 (UnchangedSince 0) +FLAGS (\\Seen)",
            CommandBody::Store(Numbers::Sequence, number(7), store),
        ),
        (
            "UID FETCH 7 (FLAGS MODSEQ) (CHANGEDSINCE 9223372036854775807)",
            CommandBody::Fetch(
                Numbers::Uid,
                number(7),
                vec![FetchItem::Flags, FetchItem::ModSeq],
                since(i64::MAX as u64, false, None),
            ),
        ),
        (
            "UID FETCH 7 (FLAGS) (vanished CHANGEDSINCE 1)",
            CommandBody::Fetch(Numbers::Uid, number(7), vec![FetchItem::Flags], since(1, true, None)),
        ),
        (
            "FETCH $ (BINARY[] BINARY.PEEK[1.2]<0.9> BINARY.SIZE[3])",
            CommandBody::Fetch(
                Numbers::Sequence,
                SequenceSet::Saved,
                vec![
                    part(false, &[], None),
                    part(true, &[1, 2], Some((0, 9))),
                    FetchItem::BinarySize(vec![3]),
                ],
                FetchModifiers::default(),
            ),
        ),
        (
            "UID FETCH 7 (FLAGS) (PARTIAL -1:-30 CHANGEDSINCE 98305)",
            CommandBody::Fetch(Numbers::Uid, number(7), vec![FetchItem::Flags], since(98_305, false, last)),
        ),
        (
            "uid fetch 7 PREVIEW (partial -1:-30)",
            CommandBody::Fetch(
                Numbers::Uid,
                number(7),
                vec![FetchItem::Preview(Urgency::Now)],
                FetchModifiers { changed_since: None, partial: last },
            ),
        ),
        (
            "SEARCH RETURN (PARTIAL 500:1 COUNT) ALL",
            CommandBody::Search(
                Numbers::Sequence,
                all(vec![
                    SearchReturn::Partial(PartialRange { end: PartialEnd::First, one: 500, other: 1 }),
                    SearchReturn::Count,
                ]),
            ),
        ),
        ("SEARCH RETURN () ALL", CommandBody::Search(Numbers::Sequence, all(vec![]))),
        ("SEARCH return (MIN max ALL COUNT SAVE) ALL", CommandBody::Search(Numbers::Sequence, all(every))),
    ] {
        assert_eq!(body(text), Ok(expected), "{text}");
    }
}

#[test]
fn search_keys() {
    let flag = |flag| SearchKey::Flag(Flag::System(flag));
    let no_flag = |flag| SearchKey::NoFlag(Flag::System(flag));
    let keyword = || Flag::parse("x").unwrap();
    let nothing = || SearchKey::Not(Box::new(SearchKey::All));
    let day = Day(1994, 2, 1);
    for (text, key) in [
        ("ALL", SearchKey::All),
        ("ANSWERED", flag(SystemFlags::ANSWERED)),
        ("deleted", flag(SystemFlags::DELETED)),
        ("DRAFT", flag(SystemFlags::DRAFT)),
        ("FLAGGED", flag(SystemFlags::FLAGGED)),
        ("SEEN", flag(SystemFlags::SEEN)),
        ("UNANSWERED", no_flag(SystemFlags::ANSWERED)),
        ("UNDELETED", no_flag(SystemFlags::DELETED)),
        ("UNDRAFT", no_flag(SystemFlags::DRAFT)),
        ("UNFLAGGED", no_flag(SystemFlags::FLAGGED)),
        ("UNSEEN", no_flag(SystemFlags::SEEN)),
        ("KEYWORD x", SearchKey::Flag(keyword())),
        ("UNKEYWORD x", SearchKey::NoFlag(keyword())),
        ("NEW", SearchKey::New),
        ("OLD", SearchKey::Old),
        ("RECENT", SearchKey::Recent),
        ("FROM {3}\r\n\u{fc}x", SearchKey::Header(s("FROM"), "üx".into())),
        ("BCC a", SearchKey::Header(s("BCC"), b"a".into())),
        ("CC \"\"", SearchKey::Header(s("CC"), b"".into())),
        ("SUBJECT \"a b\"", SearchKey::Header(s("SUBJECT"), b"a b".into())),
        ("TO a", SearchKey::Header(s("TO"), b"a".into())),
        ("HEADER X-a \"\"", SearchKey::Header(s("X-a"), b"".into())),
        ("BODY a", SearchKey::Body(b"a".into())),
        ("TEXT a", SearchKey::Text(b"a".into())),
        ("BEFORE 1-Feb-1994", SearchKey::Internal(DateRelation::Before, day)),
        ("ON \"1-Feb-1994\"", SearchKey::Internal(DateRelation::On, day)),
        ("SINCE 1-feb-1994", SearchKey::Internal(DateRelation::Since, day)),
        ("SENTBEFORE 1-Feb-1994", SearchKey::Sent(DateRelation::Before, day)),
        ("SENTON 1-Feb-1994", SearchKey::Sent(DateRelation::On, day)),
        ("SENTSINCE 1-Feb-1994", SearchKey::Sent(DateRelation::Since, day)),
        ("LARGER 0", SearchKey::Larger(0)),
        ("SMALLER 5000000000", SearchKey::Smaller(5_000_000_000)),
        ("YOUNGER 60", SearchKey::Younger(60)),
        ("OLDER 60", SearchKey::Older(60)),
        ("SAVEDBEFORE 1-Feb-1994", SearchKey::Saved(DateRelation::Before, day)),
        ("SAVEDON 1-Feb-1994", SearchKey::Saved(DateRelation::On, day)),
        ("SAVEDSINCE 1-Feb-1994", SearchKey::Saved(DateRelation::Since, day)),
        ("SAVEDATESUPPORTED", SearchKey::All),
        ("MODSEQ 0", SearchKey::ModSeq(0)),
        ("MODSEQ \"/flags/\\\\draft\" all 620162338", SearchKey::ModSeq(620_162_338)),
        ("$", SearchKey::Sequence(SequenceSet::Saved)),
        ("UID $", SearchKey::Uid(SequenceSet::Saved)),
        ("EMAILID M6d-_", SearchKey::EmailId(s("M6d-_"))),
        ("THREADID T1", SearchKey::ThreadId(s("T1"))),
        ("UID 7", SearchKey::Uid(number(7))),
        ("UIDAFTER 25000", SearchKey::UidAfter(25_000)),
        ("uidbefore 1", SearchKey::UidBefore(1)),
        ("7", SearchKey::Sequence(number(7))),
        ("NOT SEEN", SearchKey::Not(Box::new(flag(SystemFlags::SEEN)))),
        (&format!("KEYWORD {}", "k".repeat(129)), nothing()),
        (&format!("UNKEYWORD {}", "k".repeat(129)), SearchKey::All),
        ("HEADER a: \"\"", nothing()),
        ("HEADER \"\" a", nothing()),
        ("OR NOT 7 (ALL)", {
            let not = SearchKey::Not(Box::new(SearchKey::Sequence(number(7))));
            SearchKey::Or(Box::new(not), Box::new(SearchKey::And(vec![SearchKey::All])))
        }),
    ] {
        let search = Search { returned: None, charset: None, keys: vec![key.clone(), SearchKey::All] };
        assert_eq!(
            body(&format!("SEARCH {text} ALL")),
            Ok(CommandBody::Search(Numbers::Sequence, search)),
            "{text}"
        );
        let search = Search { returned: None, charset: Some(s("UTF-8")), keys: vec![key] };
        let text = format!("UID SEARCH CHARSET utf-8 {text}");
        assert_eq!(body(&text), Ok(CommandBody::Search(Numbers::Uid, search)), "{text}");
    }
}

#[test]
fn search_keys_are_bounded_in_depth() {
    let too_deep = |text: String| body(&text).err().map(|bad| bad.reason);
    let deep = Some("the search keys are nested too deeply");
    for (before, after) in [("(", ")"), ("NOT ", ""), ("OR ALL ", "")] {
        let nested = |levels: usize| format!("SEARCH {}ALL{}", before.repeat(levels), after.repeat(levels));
        assert_eq!(too_deep(nested(SEARCH_DEPTH_MAX - 1)), None, "{before}");
        assert_eq!(too_deep(nested(SEARCH_DEPTH_MAX)), deep, "{before}");
        assert_eq!(too_deep(nested(10_000)), deep, "{before}");
    }
}

#[test]
fn list_forms() {
    let list = |selection: &[ListSelection], patterns: &[&str], returned: Vec<ListReturn>| {
        let syntax = ListSyntax::Basic;
        CommandBody::List(List {
            selection: selection.to_vec(),
            syntax,
            reference: s("a"),
            patterns: patterns.iter().map(|pattern| s(pattern)).collect(),
            returned,
        })
    };
    for (text, expected) in [
        ("a *", list(&[], &["*"], vec![])),
        ("\"a\" \"\"", list(&[], &[""], vec![])),
        ("{1}\r\na &APw-%]", list(&[], &["ü%]"], vec![])),
        ("a inbox", list(&[], &["INBOX"], vec![])),
        ("() a (% \"b c\")", list(&[], &["%", "b c"], vec![])),
        (
            "(RECURSIVEMATCH subscribed REMOTE SPECIAL-USE) a %",
            list(
                &[
                    ListSelection::RecursiveMatch,
                    ListSelection::Subscribed,
                    ListSelection::Remote,
                    ListSelection::SpecialUse,
                ],
                &["%"],
                vec![],
            ),
        ),
        ("a % RETURN ()", list(&[], &["%"], vec![])),
        (
            "a % return (SUBSCRIBED CHILDREN SPECIAL-USE STATUS (UNSEEN))",
            list(
                &[],
                &["%"],
                vec![
                    ListReturn::Subscribed,
                    ListReturn::Children,
                    ListReturn::SpecialUse,
                    ListReturn::Status(vec![StatusItem::Unseen]),
                ],
            ),
        ),
    ] {
        let Ok(CommandBody::List(found)) = body(&format!("LIST {text}")) else { panic!("{text}") };
        let extended = text.starts_with('(') || text.contains(" (") || text.contains(") ");
        assert_eq!(found.syntax == ListSyntax::Extended, extended, "{text}");
        assert_eq!(CommandBody::List(List { syntax: ListSyntax::Basic, ..found }), expected, "{text}");
    }
}

#[test]
fn append_heads() {
    let (text, binary) = (LiteralKind::Text, LiteralKind::Binary);
    for (command, names, date, kind, bytes) in [
        ("a {5}", &[][..], None, text, 5),
        ("a ~{5}", &[], None, binary, 5),
        ("a (x) ~{7+}", &["x"], None, binary, 7),
        ("a {0+}", &[], None, text, 0),
        ("a () {5}", &[], None, text, 5),
        (
            "{1+}\r\na (\\Seen x) \" 7-Feb-1994 21:52:25 -0800\" {5+}",
            &["\\Seen", "x"],
            Some("07-Feb-1994 21:52:25 -0800"),
            text,
            5,
        ),
        ("\"a\" \"17-Feb-1994 21:52:25 -0800\" {5}", &[], Some("17-Feb-1994 21:52:25 -0800"), text, 5),
    ] {
        let date = date.map(|date| waypost_mail::DateTime::parse_imap(date).unwrap());
        let message = AppendPart::Message { flags: flags(names), date };
        let piece = |messages| {
            let behind = Behind { messages, place: AppendPlace::Message };
            let literal = Some(MessageLiteral { bytes, kind, behind });
            AppendPiece { parts: vec![message.clone()], literal }
        };
        let append = Append { replaced: None, mailbox: s("a"), piece: piece(Messages::Several) };
        assert_eq!(body(&format!("APPEND {command}")), Ok(CommandBody::Append(append)), "{command}");
        let number = SequenceNumber::Number(7);
        let replaced = Some((Numbers::Sequence, number));
        let replace = Append { replaced, mailbox: s("a"), piece: piece(Messages::One) };
        assert_eq!(
            body(&format!("REPLACE 7 {command}")),
            Ok(CommandBody::Append(replace.clone())),
            "{command}"
        );
        let replaced = Some((Numbers::Uid, SequenceNumber::Largest));
        let replace = CommandBody::Append(Append { replaced, ..replace });
        assert_eq!(body(&format!("UID Replace * {command}")), Ok(replace), "{command}");
    }
}

/// What is catenated without a literal, and UTF8.
#[test]
fn append_data_in_all_forms() {
    let message = || AppendPart::Message { flags: Flags::default(), date: None };
    let url = |url: &str| AppendPart::Url(s(url));
    let literal = |kind, bytes, place| {
        let behind = Behind { messages: Messages::Several, place };
        Some(MessageLiteral { bytes, kind, behind })
    };
    for (text, parts, literal) in [
        (" CATENATE (URL /a)", vec![message(), url("/a")], None),
        (" catenate (url \"/a b\" URL {2}\r\n/c)", vec![message(), url("/a b"), url("/c")], None),
        (
            " CATENATE (URL a) (\\Seen) CATENATE (URL b)",
            vec![
                message(),
                url("a"),
                AppendPart::Message { flags: flags(&["\\Seen"]), date: None },
                url("b"),
            ],
            None,
        ),
        (
            " CATENATE (URL a TEXT {5+}",
            vec![message(), url("a")],
            literal(LiteralKind::Text, 5, AppendPlace::Part),
        ),
        (" CATENATE (TEXT {0}", vec![message()], literal(LiteralKind::Text, 0, AppendPlace::Part)),
        (" CATENATE (UTF8 (~{5}", vec![message()], literal(LiteralKind::Utf8, 5, AppendPlace::Utf8Part)),
        (" utf8 (~{5+}", vec![message()], literal(LiteralKind::Utf8, 5, AppendPlace::Utf8)),
        (
            " CATENATE (URL a) ~{5}",
            vec![message(), url("a"), message()],
            literal(LiteralKind::Binary, 5, AppendPlace::Message),
        ),
    ] {
        let piece = AppendPiece { parts, literal };
        let append = CommandBody::Append(Append { replaced: None, mailbox: s("a"), piece: piece.clone() });
        assert_eq!(body(&format!("APPEND a{text}")), Ok(append), "{text}");
        let behind = Behind { messages: Messages::Several, place: AppendPlace::Message };
        assert_eq!(append_piece(text.as_bytes(), behind), Ok(piece), "{text}");
    }
    for (place, messages, text, reason) in [
        (AppendPlace::Message, Messages::One, " {5}", "something stands after the command's end"),
        (AppendPlace::Message, Messages::Several, ")", "expected a space"),
        (AppendPlace::Message, Messages::Several, " CATENATE ()", "expected TEXT, URL or UTF8"),
        (AppendPlace::Message, Messages::Several, " CATENATE (TEXT ~{5}", "expected a literal"),
        (AppendPlace::Message, Messages::Several, " CATENATE (URL a", "expected a closing parenthesis"),
        (AppendPlace::Message, Messages::Several, " CATENATE (URL a  URL b)", "expected TEXT, URL or UTF8"),
        (AppendPlace::Message, Messages::Several, " UTF8 ({5}", "expected a binary literal"),
        (AppendPlace::Part, Messages::Several, "", "expected a closing parenthesis"),
        (AppendPlace::Part, Messages::One, ") {5}", "something stands after the command's end"),
        (AppendPlace::Utf8, Messages::Several, "", "expected a closing parenthesis"),
        (AppendPlace::Utf8, Messages::Several, " {5}", "expected a closing parenthesis"),
        (AppendPlace::Utf8Part, Messages::Several, " URL a)", "expected a closing parenthesis"),
    ] {
        let bad = append_piece(text.as_bytes(), Behind { messages, place }).unwrap_err();
        assert_eq!(bad.reason, reason, "{text:?} behind {place:?}");
    }
    let many = " CATENATE (URL a".to_owned() + &" URL a".repeat(LIST_ITEMS_MAX) + ")";
    let behind = Behind { messages: Messages::Several, place: AppendPlace::Message };
    assert_eq!(append_piece(many.as_bytes(), behind).unwrap_err().wrong, Wrong::Limit);
}

/// What comes as a literal of which a command is not complete, and what is wrong whatever comes.
#[test]
fn a_string_that_is_to_come_is_told_from_a_message() {
    for (octets, begins, message, to_come) in [
        ("a APPEND {5}", true, false, true),
        ("a append {0+}", true, false, true),
        ("a APPEND {5}\r\nINBOX {10}", true, true, false),
        ("a APPEND x {10}", true, true, false),
        ("a APPEND x ({10}", true, false, false),
        ("a APPEND x ~{10+}", true, true, false),
        ("a APPEND ~{10+}", true, false, false),
        ("a APPEND x CATENATE (TEXT {10}", true, true, false),
        ("a APPEND x CATENATE (URL {10}", true, false, true),
        ("a APPEND URL {10}", true, true, false),
        ("a APPEND x UTF8 (~{10+}", true, true, false),
        ("a REPLACE 1 {10}", true, false, true),
        ("a REPLACE {10}", true, false, false),
        ("a uid replace 1 x {10}", true, true, false),
        ("a UID FETCH 1 {10}", false, false, false),
        ("a APPENDX {10}", false, false, false),
        ("a LOGIN APPEND {10}", false, false, true),
    ] {
        assert_eq!(begins_append(octets.as_bytes()), begins, "{octets:?}");
        let parsed = parse::command(octets.as_bytes(), Spelling::Utf7);
        assert_eq!(parsed.is_ok(), message, "{octets:?}: {parsed:?}");
        assert_eq!(parsed.is_err_and(|bad| bad.is_at_end(octets.as_bytes())), to_come, "{octets:?}");
    }
}

/// A piece as a client writes it, from one message's end on.
fn printed(piece: &AppendPiece) -> String {
    let (mut text, mut catenated) = (String::new(), 0);
    for part in &piece.parts {
        match part {
            AppendPart::Message { flags, date } => {
                text.push_str(if catenated > 0 { ")" } else { "" });
                text.push_str(&if flags.is_empty() { s("") } else { format!(" ({flags})") });
                text.push_str(&date.map(|date| format!(" \"{}\"", date.imap())).unwrap_or_default());
                catenated = 0;
            }
            AppendPart::Url(url) => {
                text.push_str(if catenated == 0 { " CATENATE (URL " } else { " URL " });
                let mut out = Vec::new();
                encode::astring(&mut out, url.as_bytes());
                text.push_str(str::from_utf8(&out).unwrap());
                catenated += 1;
            }
        }
    }
    let Some(MessageLiteral { bytes, kind, behind }) = piece.literal else {
        return text + if catenated > 0 { ")" } else { "" };
    };
    text.push_str(match (behind.place.is_part(), catenated, kind) {
        (false, ..) => " ",
        (true, 0, LiteralKind::Text) => " CATENATE (TEXT ",
        (true, _, LiteralKind::Text) => " TEXT ",
        (true, 0, _) => " CATENATE (",
        (true, ..) => " ",
    });
    text + &match kind {
        LiteralKind::Text => format!("{{{bytes}}}"),
        LiteralKind::Binary => format!("~{{{bytes}+}}"),
        LiteralKind::Utf8 => format!("UTF8 (~{{{bytes}}}"),
    }
}

fn any_message() -> impl Strategy<Value = AppendPart> {
    let names = proptest::sample::subsequence(vec!["\\Seen", "\\Draft", "work"], 0..=3);
    let date = proptest::option::of((0..4_000_000_000i64, -900..900i16));
    (names, date).prop_map(|(names, date)| AppendPart::Message {
        flags: flags(&names),
        date: date.map(|(seconds, offset_minutes)| waypost_mail::DateTime { seconds, offset_minutes }),
    })
}

fn any_urls(least: usize) -> impl Strategy<Value = Vec<AppendPart>> {
    proptest::collection::vec("[^\0]{0,8}".prop_map(AppendPart::Url), least..3)
}

/// Messages of URLs alone, then one that has a literal.
fn any_piece() -> impl Strategy<Value = AppendPiece> {
    let complete = proptest::collection::vec((any_message(), any_urls(1)), 0..3);
    let literal = (any_message(), any_urls(0), 0..u64::from(u32::MAX), 0..3u8, any::<bool>());
    (complete, proptest::option::of(literal)).prop_map(|(complete, last)| {
        let whole = |(message, urls): (AppendPart, Vec<AppendPart>)| [vec![message], urls].concat();
        let mut parts = complete.into_iter().flat_map(whole).collect::<Vec<_>>();
        let Some((message, urls, bytes, kind, is_part)) = last else {
            return AppendPiece { parts, literal: None };
        };
        let is_part = is_part || !urls.is_empty();
        let (kind, place) = match (kind, is_part) {
            (0, true) => (LiteralKind::Utf8, AppendPlace::Utf8Part),
            (0, false) => (LiteralKind::Utf8, AppendPlace::Utf8),
            (_, true) => (LiteralKind::Text, AppendPlace::Part),
            (1, false) => (LiteralKind::Text, AppendPlace::Message),
            (_, false) => (LiteralKind::Binary, AppendPlace::Message),
        };
        parts.push(message);
        parts.extend(urls);
        let behind = Behind { messages: Messages::Several, place };
        AppendPiece { parts, literal: Some(MessageLiteral { bytes, kind, behind }) }
    })
}

#[test]
fn what_we_say() {
    let said = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    };
    for (octets, quoted, atom) in [
        (&b"abc"[..], "\"abc\"", "abc"),
        (b"", "\"\"", "\"\""),
        (b"NIL", "\"NIL\"", "\"NIL\""),
        (b"a\"\\", "\"a\\\"\\\\\"", "\"a\\\"\\\\\""),
        (b"a b", "\"a b\"", "\"a b\""),
        (b"a]", "\"a]\"", "a]"),
        (b"a%", "\"a%\"", "\"a%\""),
        (b"a\r\nb", "{4}\r\na\r\nb", "{4}\r\na\r\nb"),
        ("ü".as_bytes(), "{2}\r\nü", "{2}\r\nü"),
    ] {
        assert_eq!(said(&|out| encode::string(out, octets)), quoted);
        assert_eq!(said(&|out| encode::astring(out, octets)), atom);
        assert_eq!(said(&|out| encode::nstring(out, Some(octets))), quoted);
    }
    let long = vec![b'a'; encode::QUOTED_BYTES_MAX + 1];
    assert!(said(&|out| encode::string(out, &long[1..])).starts_with('"'));
    assert!(said(&|out| encode::string(out, &long)).starts_with('{'));
    assert_eq!(said(&|out| encode::nstring(out, None)), "NIL");
    for (name, rev1, rev2) in [
        ("Entwürfe", "Entw&APw-rfe", "\"Entwürfe\""),
        ("a b", "\"a b\"", "\"a b\""),
        ("a&b", "a&-b", "a&b"),
        ("ü\"", "\"&APw-\\\"\"", "\"ü\\\"\""),
    ] {
        assert_eq!(said(&|out| encode::mailbox(out, name, Spelling::Utf7)), rev1);
        assert_eq!(said(&|out| encode::mailbox(out, name, Spelling::Utf8)), rev2);
    }
    let seen = flags(&["\\Seen", "x"]);
    assert_eq!(said(&|out| encode::flag_list(out, &seen, Recent::Yes)), "(\\Seen x \\Recent)");
    assert_eq!(said(&|out| encode::flag_list(out, &seen, Recent::No)), "(\\Seen x)");
    assert_eq!(said(&|out| encode::flag_list(out, &Flags::default(), Recent::Yes)), "(\\Recent)");
    assert_eq!(said(&|out| encode::flag_list(out, &Flags::default(), Recent::No)), "()");
    assert_eq!(
        said(&|out| encode::tagged(out, "a", Status::No, Some("X 1"), "b\r\nü")),
        "a NO [X 1] b???\r\n"
    );
    assert_eq!(said(&|out| encode::untagged(out, Status::Ok, None, "")), "* OK done\r\n");
    assert_eq!(said(&|out| encode::bye(out, None, "b")), "* BYE b\r\n");
    assert_eq!(said(&|out| encode::continue_req(out, "")), "+ \r\n");
    assert_eq!(said(&|out| encode::data(out, "1 EXISTS")), "* 1 EXISTS\r\n");
}

#[test]
fn runs_become_ranges() {
    for (numbers, text) in [
        (&[][..], ""),
        (&[1], "1"),
        (&[1, 2, 3, 7, 9, 10], "1:3,7,9:10"),
        (&[3, 2, 1], "3,2,1"),
        (&[u32::MAX - 1, u32::MAX, 1], "4294967294:4294967295,1"),
    ] {
        assert_eq!(encode::sequence_set(numbers.iter().copied()), text);
    }
}

proptest! {
    #[test]
    fn pieces_of_append_come_back(piece in any_piece()) {
        let text = printed(&piece);
        let behind = Behind { messages: Messages::Several, place: AppendPlace::Message };
        prop_assert_eq!(append_piece(text.as_bytes(), behind), Ok(piece), "{}", text);
    }

    #[test]
    fn strings_come_back(octets in proptest::collection::vec(1..=255u8, 0..40)) {
        let mut out = Vec::new();
        encode::astring(&mut out, &octets);
        let parsed = token::astring(&out);
        prop_assert_eq!(parsed, Ok((&b""[..], octets.into())));
    }

    #[test]
    fn mailboxes_come_back(name in any::<String>()) {
        // In UTF-8 a name holds no control characters (RFC 9051 section 5.1).
        let printable: String = name.chars().filter(|char| !char.is_control()).collect();
        for (name, spelling) in [(name, Spelling::Utf7), (printable, Spelling::Utf8)] {
            let mut out = b"a DELETE ".to_vec();
            encode::mailbox(&mut out, &name, spelling);
            let name = if name.eq_ignore_ascii_case("INBOX") { "INBOX".to_owned() } else { name };
            let body = parse::command(&out, spelling).map(|command| command.body);
            prop_assert_eq!(body, Ok(CommandBody::Delete(name)));
        }
    }

    #[test]
    fn sets_come_back(numbers in proptest::collection::btree_set(1..=60u32, 1..40)) {
        let text = encode::sequence_set(numbers.iter().copied());
        let (_, set) = sequence::sequence_set(text.as_bytes()).unwrap();
        let again: Vec<u32> = set.resolve(60).into_iter().flatten().collect();
        prop_assert_eq!(again, numbers.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn no_octets_make_the_parser_panic(octets in proptest::collection::vec(any::<u8>(), 0..60)) {
        let refused = parse::command(&octets, Spelling::Utf7).err();
        prop_assert!(refused.is_none_or(|bad| (1..=octets.len() + 1).contains(&bad.position)));
    }

    #[test]
    fn no_tokens_make_the_parser_panic(text in "a (UID )?(FETCH|SEARCH|STORE|LIST|APPEND|REPLACE 1|ID)( |[0-9*:,]{0,3}|[(){}<>\\[\\]\"\\\\+.]|BODY|NOT|OR|FLAGS|CATENATE|URL|TEXT|UTF8|[a-z\r\n]{1,2}){0,14}") {
        let refused = parse::command(text.as_bytes(), Spelling::Utf8).err();
        prop_assert!(refused.is_none_or(|bad| (1..=text.len() + 1).contains(&bad.position)));
    }
}
