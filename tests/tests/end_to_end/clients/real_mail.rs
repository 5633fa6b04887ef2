//! Real messages, malformed ones too, that Debian packages bring for their own tests: through every door and out again.

use super::Scene;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_mail_goes_by_smtp_to_imap_and_pop3() {
    runs("real_delivery.py", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_mail_is_appended_and_fetched_in_every_item_and_section() {
    runs("real_append.py", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_mail_has_the_envelope_and_structure_that_dovecot_finds() {
    let differences = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/imap-differences.md");
    runs("real_dovecot.py", &[differences]).await;
}

async fn runs(script: &str, arguments: &[&str]) {
    let scene = Scene::new().await;
    let corpora = waypost_tests::client::installed("corpora");
    scene.python(script).env("CORPORA", corpora).args(["alice@a.test"]).args(arguments).run().await;
    scene.site.finish().await;
}
