//! How values of the vocabulary stand in CBOR. Each module is one `with` of a derive; what is read is valid again.

use minicbor::{Decoder, Encoder, bytes::ByteVec, decode, encode, encode::Write};
use waypost_mail::{
    AccessKey, AccountCertificate, AccountId, AccountSource, Address, ApopSecret, AppPassword, BodyType,
    DateTime, Domain, EmailId, EntryId, EnvelopeId, Keyword, LoginService, MailboxId, ModSeq, Notify,
    OriginalRecipient, Overdue, ReturnContent, ReversePath, Solicitation, SystemFlags, ThreadId, Timestamp,
    TotpSecret, Uid, UidValidity, UidlId,
};

use crate::{
    acl::Rights,
    content::{BodyPlace, Content},
    state::SpecialUse,
};

type Encoded<W> = Result<(), encode::Error<<W as Write>::Error>>;
type Decoded<T> = Result<T, decode::Error>;

/// A module for a type that is kept as another one that CBOR knows.
macro_rules! kept_as {
    ($module:ident: $type:ty as $raw:ty, $to:expr, $from:expr) => {
        pub(crate) mod $module {
            use super::*;

            pub(crate) fn encode<C, W: Write>(value: &$type, e: &mut Encoder<W>, _: &mut C) -> Encoded<W> {
                let to: fn(&$type) -> $raw = $to;
                e.encode(to(value))?.ok()
            }

            pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Decoded<$type> {
                let from: fn($raw) -> Option<$type> = $from;
                from(d.decode()?)
                    .ok_or_else(|| decode::Error::message(concat!("not a value: ", stringify!($type))))
            }
        }
    };
}

fn service_number(service: LoginService) -> u8 {
    match service {
        LoginService::Submission => 0,
        LoginService::Imap => 1,
        LoginService::Pop3 => 2,
    }
}

fn service_of(number: u8) -> Option<LoginService> {
    LoginService::ALL.into_iter().find(|service| service_number(*service) == number)
}

kept_as!(account: AccountId as u64, |v| v.0, |v| Some(AccountId(v)));
kept_as!(accounts: Vec<AccountId> as Vec<u64>, |v| v.iter().map(|v| v.0).collect(), |v| Some(v.into_iter().map(AccountId).collect()));
kept_as!(rights: Rights as u16, |v| v.bits(), |v| Some(Rights::from_bits(v)));
kept_as!(mailbox: MailboxId as u64, |v| v.0, |v| Some(MailboxId(v)));
kept_as!(email: EmailId as u64, |v| v.0, |v| Some(EmailId(v)));
kept_as!(thread: ThreadId as u64, |v| v.0, |v| Some(ThreadId(v)));
kept_as!(uidl: UidlId as u64, |v| v.0, |v| Some(UidlId(v)));
kept_as!(entry: EntryId as u64, |v| v.0, |v| Some(EntryId(v)));
kept_as!(uid: Uid as u32, |v| v.value(), Uid::new);
kept_as!(uid_validity: UidValidity as u32, |v| v.value(), UidValidity::new);
kept_as!(modseq: ModSeq as u64, |v| v.value(), ModSeq::new);
kept_as!(timestamp: Timestamp as i64, |v| v.0, |v| Some(Timestamp(v)));
kept_as!(optional_timestamp: Option<Timestamp> as Option<i64>, |v| v.map(|v| v.0), |v| Some(v.map(Timestamp)));
kept_as!(date_time: DateTime as (i64, i16), |v| (v.seconds, v.offset_minutes), |v| {
    Some(DateTime { seconds: v.0, offset_minutes: v.1 })
});
kept_as!(flags: SystemFlags as u8, |v| v.bits(), |v| Some(SystemFlags::from_bits(v)));
kept_as!(keyword: Keyword as String, |v| v.as_str().to_owned(), |v| Keyword::new(&v));
kept_as!(keywords: Vec<Keyword> as Vec<String>,
    |v| v.iter().map(|keyword| keyword.as_str().to_owned()).collect(),
    |v| v.iter().map(|text| Keyword::new(text)).collect());
kept_as!(domain: Domain as String, ToString::to_string, |v| Domain::new(&v).ok());
kept_as!(address: Address as String, ToString::to_string, |v| Address::parse(&v).ok());
kept_as!(original: Option<Address> as Option<String>, |v| v.as_ref().map(ToString::to_string), |v| match v {
    None => Some(None),
    Some(text) => Address::parse(&text).ok().map(Some),
});
kept_as!(reverse_path: ReversePath as String, ToString::to_string, |v| match v.as_str() {
    "" => Some(ReversePath::Null),
    text => Address::parse(text).ok().map(ReversePath::Address),
});
kept_as!(return_content: Option<ReturnContent> as Option<u8>,
|v| v.map(|v| match v { ReturnContent::Full => 0, ReturnContent::Headers => 1 }),
|v| match v {
    None => Some(None),
    Some(0) => Some(Some(ReturnContent::Full)),
    Some(1) => Some(Some(ReturnContent::Headers)),
    Some(_) => None,
});
kept_as!(envelope_id: Option<EnvelopeId> as Option<String>, |v| v.as_ref().map(|v| v.as_str().to_owned()), |v| match v {
    None => Some(None),
    Some(text) => EnvelopeId::new(&text).map(Some),
});
kept_as!(solicitation: Option<Solicitation> as Option<String>, |v| v.as_ref().map(ToString::to_string), |v| match v {
    None => Some(None),
    Some(text) => Solicitation::parse(&text).map(Some),
});
kept_as!(overdue: Overdue as u8, |v| match v { Overdue::Notify => 0, Overdue::Return => 1 }, |v| match v {
    0 => Some(Overdue::Notify),
    1 => Some(Overdue::Return),
    _ => None,
});
kept_as!(notify: Option<Notify> as Option<u8>,
|v| v.map(|v| u8::from(v.success) | u8::from(v.failure) << 1 | u8::from(v.delay) << 2),
|v| match v {
    None => Some(None),
    Some(bits @ ..8) => {
        Some(Some(Notify { success: bits & 1 != 0, failure: bits & 2 != 0, delay: bits & 4 != 0 }))
    }
    Some(_) => None,
});
kept_as!(original_recipient: Option<OriginalRecipient> as Option<String>,
|v| v.as_ref().map(|v| v.as_str().to_owned()),
|v| match v {
    None => Some(None),
    Some(text) => OriginalRecipient::new(&text).map(Some),
});
kept_as!(app_password: AppPassword as (String, String, Vec<u8>, i64),
|v| {
    let services = v.services.iter().map(|service| service_number(*service)).collect();
    (v.name.clone(), v.hash.clone(), services, v.created.0)
},
|(name, hash, services, created)| {
    let services = services.into_iter().map(service_of).collect::<Option<_>>()?;
    Some(AppPassword { name, hash, services, created: Timestamp(created) })
});
kept_as!(certificate: AccountCertificate as (String, ByteVec, i64),
|v| (v.name.clone(), v.sha256.to_vec().into(), v.added.0),
|(name, sha256, added)| {
    Some(AccountCertificate { name, sha256: sha256.as_slice().try_into().ok()?, added: Timestamp(added) })
});
kept_as!(totp: Option<TotpSecret> as Option<ByteVec>, |v| v.as_ref().map(|v| v.0.clone().into()), |v| {
    Some(v.map(|v| TotpSecret(v.into())))
});
kept_as!(apop: Option<ApopSecret> as Option<String>, |v| v.as_ref().map(|v| v.0.clone()), |v| Some(v.map(ApopSecret)));
kept_as!(access_key: Option<AccessKey> as Option<ByteVec>, |v| v.as_ref().map(|v| v.0.to_vec().into()), |v| match v {
    None => Some(None),
    Some(key) => Some(Some(AccessKey(key.as_slice().try_into().ok()?))),
});
kept_as!(source: AccountSource as u8, |v| match v { AccountSource::Store => 0, AccountSource::File => 1 }, |v| match v {
    0 => Some(AccountSource::Store),
    1 => Some(AccountSource::File),
    _ => None,
});
kept_as!(body_type: BodyType as u8, |v| match v {
    BodyType::SevenBit => 0,
    BodyType::EightBitMime => 1,
    BodyType::BinaryMime => 2,
}, |v| match v {
    0 => Some(BodyType::SevenBit),
    1 => Some(BodyType::EightBitMime),
    2 => Some(BodyType::BinaryMime),
    _ => None,
});
kept_as!(special_use: Option<SpecialUse> as Option<u8>, |v| v.map(special_use_number), |v| match v {
    None => Some(None),
    Some(number) => SPECIAL_USES.get(usize::from(number)).copied().map(Some),
});
kept_as!(body_place: BodyPlace as (u8, u64, u64),
|v| match *v {
    BodyPlace::Area(at) => (0, u64::from(at), 0),
    BodyPlace::File { segment, number } => (1, segment, number),
},
|v| match v {
    (0, at, 0) => u32::try_from(at).ok().map(BodyPlace::Area),
    (1, segment, number) => Some(BodyPlace::File { segment, number }),
    _ => None,
});

/// The numbers of the special uses on disk: their place here, for ever.
const SPECIAL_USES: [SpecialUse; 8] = [
    SpecialUse::All,
    SpecialUse::Archive,
    SpecialUse::Drafts,
    SpecialUse::Flagged,
    SpecialUse::Junk,
    SpecialUse::Sent,
    SpecialUse::Trash,
    SpecialUse::Important,
];

fn special_use_number(special_use: SpecialUse) -> u8 {
    match special_use {
        SpecialUse::All => 0,
        SpecialUse::Archive => 1,
        SpecialUse::Drafts => 2,
        SpecialUse::Flagged => 3,
        SpecialUse::Junk => 4,
        SpecialUse::Sent => 5,
        SpecialUse::Trash => 6,
        SpecialUse::Important => 7,
    }
}

pub(crate) mod content {
    use super::*;

    type Raw = (u64, u64, u32, (u32, u32), (u32, u32), u64);

    pub(crate) fn encode<C, W: Write>(value: &Content, e: &mut Encoder<W>, ctx: &mut C) -> Encoded<W> {
        e.array(2)?;
        let raw: Raw =
            (value.segment, value.area_at, value.area_bytes, value.prefix, value.header, value.body_bytes);
        e.encode(raw)?;
        body_place::encode(&value.body, e, ctx)
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, ctx: &mut C) -> Decoded<Content> {
        if d.array()? != Some(2) {
            return Err(decode::Error::message("not a value: Content"));
        }
        let (segment, area_at, area_bytes, prefix, header, body_bytes): Raw = d.decode()?;
        let body = body_place::decode(d, ctx)?;
        Ok(Content { segment, area_at, area_bytes, prefix, header, body, body_bytes })
    }
}
