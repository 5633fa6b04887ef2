//! A small user agent: what `waypost send` and the demo use to speak to a server as a mail program does.

pub mod dialogue;
pub mod mailbox;
pub mod submit;

pub use dialogue::{AgentError, Dialogue};
pub use submit::{Login, Submission, Tls, submit};
