//! `allow`: clients of these networks may go on, all others get 403.

use super::networks::Networks;
use super::{Filter, FilterCx, FilterKind, Flow, Keep, RequestView};
use crate::document;
use crate::outcome::Reason;
use crate::reply::Reply;

document! {
    /// Clients of these networks may go on; all others are refused.
    pub struct Allow {
        /// A network, or a list of them.
        cidr: Networks = Networks::default(),
    } later { "cidr_file" }
}

impl FilterKind for Allow {
    fn build(&self, _: &mut dyn Keep) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}

impl Filter for Allow {
    fn request(&self, _: &mut RequestView<'_>, cx: &mut FilterCx<'_>) -> Flow {
        let client = cx.client;
        if self.cidr.contain(client) {
            cx.say(|| format!("{client} is allowed"));
            return Flow::Next;
        }
        cx.say(|| format!("{client} is in none of the networks"));
        Flow::Reply(Reply::reason(Reason::Denied))
    }
}
