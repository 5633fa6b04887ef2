use super::*;

fn seconds_of(policy: &str) -> Result<u64, StsError> {
    StsPolicy::parse(policy).map(|policy| policy.max_age.as_secs())
}

#[test]
fn a_text_record_names_its_policy() {
    let id = |records: &[&str]| policy_id(&records.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    let longest = "a".repeat(32);
    for (records, expected) in [
        (&["v=STSv1; id=20160831085700Z;"][..], Some("20160831085700Z")),
        (&["v=STSv1;id=1"], Some("1")),
        (&["v=STSv1 ;\tid=1 ; "], Some("1")),
        (&["v=STSv1; more=x-y; id=1; id=2"], Some("1")),
        (&["v=spf1 -all", "v=STSv1; id=1", "something"], Some("1")),
        (&[&format!("v=STSv1; id={longest};")], Some(longest.as_str())),
        (&[&format!("v=STSv1; id={longest}a;")], None),
        (&[], None),
        (&["v=STSv1; id=1", "v=STSv1; id=1"], None),
        (&["v=STSv1; id=1", "v=STSv1; nonsense"], None),
        (&["v=STSv1"], None),
        (&["v=STSv1;"], None),
        (&["v=STSv1; id="], None),
        (&["v=STSv1; id=a-b"], None),
        (&["v=STSv1; id=ä"], None),
        (&["v=STSv1; id=1;; "], None),
        (&["v=STSv1; ID=1"], None),
        (&["V=stsv1; id=1"], None),
        (&["v=STSv12; id=1"], None),
        (&[" v=STSv1; id=1"], None),
    ] {
        assert_eq!(id(records).as_deref(), expected, "{records:?}");
    }
}

#[test]
fn a_policy_is_read_as_it_was_written() {
    let text = "version: STSv1\r\nmode: enforce\r\nmx: MX1.b.test\r\nmx: *.b.test\r\nfurther: x: y\r\nmax_age: 604800\r\n";
    let policy = StsPolicy::parse(text).unwrap();
    let expected = StsPolicy {
        mode: Mode::Enforce,
        exchangers: vec!["mx1.b.test".into(), "*.b.test".into()],
        max_age: Duration::from_secs(604_800),
    };
    assert_eq!(policy, expected);
    assert_eq!(StsPolicy::parse(&policy.lines().join("\n")), Ok(expected));
    // line ends, blanks, order, what is there twice
    let loose = "max_age:5\nmx:b.test \nmode :\ttesting\nmode: none\nversion:  STSv1\nmax_age: 7";
    let loose = StsPolicy::parse(loose).unwrap();
    assert_eq!((loose.mode, loose.max_age.as_secs()), (Mode::Testing, 5));
    assert_eq!(loose.exchangers, ["b.test"]);
    assert_eq!(StsPolicy::parse("version: STSv1\nmode: none\nmax_age: 0\n").unwrap().exchangers, [""; 0]);
}

#[test]
fn what_is_no_policy_is_told() {
    let head = "version: STSv1\nmode: enforce\nmx: b.test\n";
    for (text, expected) in [
        (String::new(), StsError::Version),
        ("version: STSv2\nmode: enforce\nmx: b.test\nmax_age: 1".into(), StsError::Version),
        ("mode: enforce\nmx: b.test\nmax_age: 1".into(), StsError::Version),
        ("version: STSv1\nmx: b.test\nmax_age: 1".into(), StsError::Mode),
        ("version: STSv1\nmode: Enforce\nmx: b.test\nmax_age: 1".into(), StsError::Mode),
        (head.to_owned(), StsError::MaxAge),
        (format!("{head}max_age: -1"), StsError::MaxAge),
        (format!("{head}max_age: +1"), StsError::MaxAge),
        (format!("{head}max_age: 12345678901"), StsError::MaxAge),
        (format!("{head}max_age:"), StsError::MaxAge),
        ("version: STSv1\nmode: testing\nmax_age: 1".into(), StsError::NoExchanger),
        (
            "version: STSv1\nmode: testing\nmx: *\nmx: a.*.test\nmx: [192.0.2.1]\nmax_age: 1".into(),
            StsError::NoExchanger,
        ),
        ("<html>\n".into(), StsError::Syntax),
        (format!("{head}max_age: 1\nnonsense"), StsError::Syntax),
        (format!("{head}max_age: 1\n: x"), StsError::Syntax),
        (format!("{head}max_age: 1\nx: \0"), StsError::Syntax),
        (format!("{head}max_age: 1\rmode: none"), StsError::Syntax),
        (format!("{head}max_age: 1\n{}", "\n".repeat(POLICY_BYTES_MAX)), StsError::TooLarge),
    ] {
        assert_eq!(StsPolicy::parse(&text), Err(expected), "{text:.100}");
    }
    let most = MAX_AGE_MAX.as_secs();
    for (age, expected) in [(0, 0), (most, most), (most + 1, most), (9_999_999_999, most)] {
        assert_eq!(seconds_of(&format!("{head}max_age: {age}")), Ok(expected));
    }
    let many = "mx: x.b.test\n".repeat(EXCHANGERS_MAX + 1);
    assert_eq!(
        StsPolicy::parse(&format!("{head}max_age: 1\n{many}")).unwrap().exchangers.len(),
        EXCHANGERS_MAX
    );
}

#[test]
fn a_wildcard_is_one_label() {
    for (pattern, host, expected) in [
        ("mx.b.test", "mx.b.test", true),
        ("mx.b.test", "MX.B.test.", true),
        ("mx.b.test", "amx.b.test", false),
        ("*.b.test", "mx.b.test", true),
        ("*.b.test", "b.test", false),
        ("*.b.test", ".b.test", false),
        ("*.b.test", "a.mx.b.test", false),
        ("*.b.test", "mxb.test", false),
        ("*.b.test", "mx.b.test.evil.test", false),
    ] {
        assert_eq!(matches(pattern, host), expected, "{pattern} {host}");
    }
}
