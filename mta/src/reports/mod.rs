//! Reports between servers: about who sends in whose name (DMARC), about TLS (TLSRPT), about single messages (ARF).

pub mod incoming;
