//! Administration: what the commands do to a store, in the running server (over `STATE/waypost.sock`) or without one.

pub mod acl;
pub mod app_password;
pub mod certificate;
pub mod dkim;
pub mod maintenance;
pub mod queue;
pub mod reports;
pub mod request;
pub mod route;
pub mod socket;
pub mod suppression;

pub use app_password::AppPasswordLine;
pub use certificate::CertificateLine;
pub use maintenance::{Maintained, Maintenance, MessageLine, RestoredLine, Which as WhichDeleted};
pub use request::{AccountLine, Parts, Request, Response, execute, may_be_added};
pub use route::{RelayedLine, RouteAnswer, Router, TargetLine};
