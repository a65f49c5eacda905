//! `deny`: clients of these networks get 403.

use super::networks::Networks;
use super::{Filter, FilterCx, FilterKind, Flow, Keep, RequestView};
use crate::document;
use crate::outcome::Reason;
use crate::reply::Reply;

document! {
    /// Clients of these networks are refused.
    pub struct Deny {
        /// A network, or a list of them.
        cidr: Networks = Networks::default(),
    } later { "cidr_file" }
}

impl FilterKind for Deny {
    fn build(&self, _: &mut dyn Keep) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}

impl Filter for Deny {
    fn request(&self, _: &mut RequestView<'_>, cx: &mut FilterCx<'_>) -> Flow {
        let client = cx.client;
        if !self.cidr.contain(client) {
            cx.say(|| format!("{client} is in none of the networks"));
            return Flow::Next;
        }
        cx.say(|| format!("{client} is in one of the networks"));
        Flow::Reply(Reply::reason(Reason::Denied))
    }
}
