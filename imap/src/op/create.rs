//! CREATE (RFC 3501 section 6.3.3) with a special use (RFC 6154 section 3) and its id (RFC 8474 section 4.1).

use icu_normalizer::ComposingNormalizer;
use waypost_storage::SpecialUse;

use super::{Failure, Operation, status::mailbox_id};
use crate::machine::Ran;

const NOT_NORMAL: &str = "the name is not in Unicode's normal form C";
const NOT_OTHERS: &str = "mailboxes of others have no special use";
const ONE_USE: &str = "a mailbox has one special use, of those in LIST";

impl Operation<'_, '_> {
    /// A `/` at the end only says that names below will follow.
    pub(super) async fn create(&mut self, name: &str, uses: &[String]) -> Result<Ran, Failure> {
        let special_use = match uses {
            [] => None,
            [one] => Some(special_use(one).ok_or(Failure::no("USEATTR", ONE_USE))?),
            _ => return Err(Failure::no("USEATTR", ONE_USE)),
        };
        let name = name.strip_suffix('/').unwrap_or(name);
        net_unicode(name)?;
        let place = self.place_for_new(name).await?;
        let account = place.space.account.clone();
        if account.reader().is_some() && special_use.is_some() {
            return Err(Failure::no("USEATTR", NOT_OTHERS));
        }
        let id = account.create_mailbox(&place.name, special_use).await?;
        // RFC 9051 section 6.3.4: where it is not the name that was asked for.
        self.tell_renamed(&place.space, id, name).await?;
        let ran = Ran::ok("created");
        Ok(match account.state().mailboxes.get(&id) {
            Some(mailbox) => ran.with_code(format!("MAILBOXID ({})", mailbox_id(&account, mailbox))),
            // Another session has deleted it already.
            None => ran,
        })
    }
}

/// Names that are made are Net-Unicode in normal form (RFC 9051 section 6.3.4, RFC 5198); control characters the store refuses.
pub(super) fn net_unicode(name: &str) -> Result<(), Failure> {
    let normal = ComposingNormalizer::new_nfc().is_normalized(name);
    match normal && !name.contains(['\u{2028}', '\u{2029}']) {
        true => Ok(()),
        false => Err(Failure::no("CANNOT", NOT_NORMAL)),
    }
}

/// The use of an attribute.
pub(super) fn special_use(attribute: &str) -> Option<SpecialUse> {
    let named = SpecialUse::NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(attribute));
    named.map(|(special_use, _)| *special_use)
}
