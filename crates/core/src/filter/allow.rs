//! `allow`: clients of these networks may go on, all others get 403.

use super::networks::{Clients, Networks, Place, file_use, is_named};
use super::{FileName, FileUse, Filter, FilterCx, FilterKind, Flow, Keep, RequestView};
use crate::document;
use crate::document::{Decode, Faults, Json, Node};
use crate::outcome::Reason;
use crate::reply::Reply;

document! {
    /// Clients of these networks may go on; all others are refused.
    struct Table {
        /// A network, or a list of them.
        cidr: Networks = Networks::default(),
        /// A file with one network or address a line; it is watched.
        cidr_file: Option<FileName>,
    }
}

/// Clients of these networks may go on; all others are refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Allow(Table);

impl Decode for Allow {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let table = Table::decode(node, faults)?;
        is_named(node, &table.cidr, table.cidr_file.as_ref(), faults).then_some(Allow(table))
    }

    fn schema() -> Json {
        Table::schema()
    }
}

impl FilterKind for Allow {
    fn build(&self, keep: &mut dyn Keep) -> Box<dyn Filter> {
        Box::new(Allowed(Clients::build(&self.0.cidr, self.0.cidr_file.as_ref(), keep)))
    }

    fn files(&mut self) -> Vec<FileUse<'_>> {
        file_use(&mut self.0.cidr_file)
    }
}

/// The clients that may go on.
struct Allowed(Clients);

impl Filter for Allowed {
    fn request(&self, _: &mut RequestView<'_>, cx: &mut FilterCx<'_>) -> Flow {
        match self.0.place(cx) {
            Place::Inside => Flow::Next,
            Place::Outside | Place::Unknown => Flow::Reply(Reply::reason(Reason::Denied)),
        }
    }
}
