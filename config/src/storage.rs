//! `[storage]`: how mail is kept.

use std::time::Duration;

use crate::reader::Section;

/// `[storage]`
#[derive(Clone, Debug, PartialEq)]
pub struct StorageConfig {
    /// How long deleted mail can be brought back; default 14 days.
    pub retention: Duration,
}

pub(crate) fn read(root: &Section<'_, '_>) -> StorageConfig {
    let section = root.table("storage");
    section.parsed("engine", |text| match text {
        "sled" => Ok(()),
        "postgres" => Err("the engine \"postgres\" is not available in this version".to_owned()),
        _ => Err(format!("{text:?} is none of \"sled\", \"postgres\"")),
    });
    let retention = section.duration("retention").unwrap_or(Duration::from_secs(14 * 86_400));
    section.not_available(&["url", "bodies"]);
    section.end();
    StorageConfig { retention }
}
