//! What is fuzzed: one function for each parser and each machine. A function takes any octets and panics where a property does
//! not hold. libFuzzer calls them, and the test that replays the corpora.

mod configuration;
mod deflate;
mod imap;
mod imap_client;
mod mail;
mod message;
mod play;
mod pop3;
mod proxy;
mod reports;
mod sasl;
mod smtp;
mod smtp_sessions;
mod tls_policy;

use waypost_mta::authenticity::fuzzing;

/// A function that panics where a property does not hold.
pub(crate) type Target = fn(&[u8]);

/// All targets by name; a corpus has the same name.
pub(crate) const TARGETS: [(&str, Target); 43] = [
    ("address", mail::address),
    ("arc_sets", fuzzing::arc_sets),
    ("authentication_results", fuzzing::authentication_results),
    ("body_decoder", message::body_decoder),
    ("config", configuration::config),
    ("config_values", configuration::values),
    ("date_time", mail::date_time),
    ("deflate", deflate::streams),
    ("dkim_signature", fuzzing::signature),
    ("dmarc_record", fuzzing::dmarc_record),
    ("flags", mail::flags),
    ("header_block", message::header_block),
    ("header_text", message::header_text),
    ("html_text", message::html_text),
    ("imap_client", imap_client::session),
    ("imap_command", imap::command),
    ("imap_literal", imap::literal),
    ("imap_machine", imap::machine),
    ("imap_strings", imap::strings),
    ("mutf7", imap::mutf7),
    ("pop3_command", pop3::command),
    ("pop3_machine", pop3::machine),
    ("proxy_header", proxy::header),
    ("report", message::report),
    ("report_attached", reports::attached),
    ("report_in_mail", reports::in_mail),
    ("sasl", sasl::exchange),
    ("smtp_client", smtp_sessions::client),
    ("smtp_command", smtp::command),
    ("smtp_data", smtp::data),
    ("smtp_path", smtp::path),
    ("smtp_reply", smtp::reply),
    ("smtp_server", smtp_sessions::server),
    ("spf_record", fuzzing::spf_record),
    ("splitter", message::splitter),
    ("storage_footer", waypost_storage::fuzzing::footer),
    ("storage_frame", waypost_storage::fuzzing::frame),
    ("storage_journal", waypost_storage::fuzzing::journal),
    ("storage_record", waypost_storage::fuzzing::record),
    ("structure", message::structure),
    ("sts_policy", tls_policy::sts),
    ("surrogate", message::surrogate),
    ("tlsa", tls_policy::tlsa),
];

/// The first octet as settings, and the rest; nothing where there is none.
fn settings(octets: &[u8]) -> Option<(u8, &[u8])> {
    octets.split_first().map(|(first, rest)| (*first, rest))
}
