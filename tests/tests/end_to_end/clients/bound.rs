//! Logins that are bound to their TLS connection.

use waypost_tests::{SiteBuilder, site::PASSWORD};

use super::Scene;

/// The connection is OpenSSL's own client's, which exports its keying material.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_and_the_server_bind_a_login_to_the_same_connection() {
    let site = SiteBuilder::new("a.test").tls("channel_binding = true").start().await;
    let scene = Scene { site, home: tempfile::tempdir().unwrap() };
    for hash in ["sha256", "sha1"] {
        for binding in ["tls-exporter", "tls-server-end-point"] {
            for (password, connection, said) in [
                (PASSWORD, "same", "logged in"),
                (PASSWORD, "other", "refused"),
                ("wrong", "same", "refused"),
            ] {
                let script = scene.python("bound.py").args([hash, binding, password, connection]);
                assert_eq!(script.run().await.trim(), said, "{hash} {binding} {password} {connection}");
            }
        }
    }
    scene.site.finish().await;
}
