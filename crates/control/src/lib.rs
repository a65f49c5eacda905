//! The control plane: configuration, health checks, the admin API, and the publishing of snapshots.
//!
//! It never touches a client's bytes, and does not know the data plane.

pub mod access;

mod acme;
pub mod admin;
mod certificates;
pub mod config;
mod driver;
pub mod events;
pub mod explain;
mod fetch;
mod files;
mod handed;
mod kept;
mod living;
mod metrics;
mod originations;
mod probe;
mod program;
mod publish;
mod reload;
mod shifts;
mod splits;
mod status;
mod succession;
mod traces;

pub use acme::{AcmeStatus, Handshakes};
pub use certificates::{CertificateStatus, OwnPair, Terminations};
pub use driver::{Suspects, drive};
pub use files::FileStatus;
pub use handed::Handed;
pub use living::{LivingPool, PoolStatus};
pub use metrics::Metrics;
pub use originations::{Published, TlsStatus};
pub use publish::{Control, Reload, Serving};
pub use reload::{NotReloaded, Reloaded, Reloader, Started};
pub use shifts::Shifts;
pub use status::Readiness;
pub use succession::{Handing, Left};
pub use traces::{Exporter, Exporting};
