//! The policy of MTA-STS of a domain (RFC 8461 section 3.2).

use waypost_config::{Config, DomainConfig, StsMode};

/// How long senders remember a policy, in seconds (RFC 8461 section 3.2): a week, and a day where it is to be forgotten.
const MAX_AGE: (u32, u32) = (604_800, 86_400);

/// Where it is asked for (RFC 8461 section 3.3).
pub const PATH: &str = "/.well-known/mta-sts.txt";

/// Its text.
pub fn text(config: &Config, domain: &DomainConfig) -> String {
    let (mode, max_age) = match domain.mta_sts {
        StsMode::None => (StsMode::None, MAX_AGE.1),
        mode => (mode, MAX_AGE.0),
    };
    let (mode, host) = (mode.name(), &config.hostname);
    format!("version: STSv1\r\nmode: {mode}\r\nmx: {host}\r\nmax_age: {max_age}\r\n")
}

/// Its id in the TXT record: 16 letters and digits that follow from the text (FNV-1a), so that senders see when it changes.
pub fn id(policy: &str) -> String {
    let step = |hash: u64, octet: u8| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", policy.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}
