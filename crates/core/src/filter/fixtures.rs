//! Filters under test: built from JSON, and asked with requests.

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Changes, Done, FileName, Filter, FilterCx, FilterKind, Flow, Keep, RequestView, Slot};
use crate::document::{Decode, Entry, Faults, Json, Node, Span, Value};
use crate::rng::Rng;
use crate::route::{Asked, Fields, Target};
use crate::time::Now;

/// Keeps one state, as if there were one filter.
#[derive(Default)]
pub(super) struct KeepOne(Option<Arc<dyn Any + Send + Sync>>);

impl Keep for KeepOne {
    fn seed(&self) -> u64 {
        7
    }

    fn state(&mut self, make: &mut dyn FnMut() -> Arc<dyn Any + Send + Sync>) -> Arc<dyn Any + Send + Sync> {
        self.0.get_or_insert_with(make).clone()
    }

    fn file(&mut self, _: &FileName, fresh: Arc<dyn Slot>) -> Arc<dyn Slot> {
        fresh
    }
}

/// The settings that `json` is, or what is wrong with them.
pub(super) fn read<T: Decode>(json: &Json) -> Result<T, Vec<String>> {
    let mut faults = Faults::default();
    match T::decode(&node(json), &mut faults) {
        Some(read) if faults.list.is_empty() => Ok(read),
        _ => Err(faults.list.into_iter().map(|fault| fault.message).collect()),
    }
}

/// The filter that `json` configures.
pub(super) fn build<T: Decode + FilterKind>(json: &Json, keep: &mut KeepOne) -> Box<dyn Filter> {
    read::<T>(json).unwrap().build(keep)
}

fn node(json: &Json) -> Node {
    let value = match json {
        Json::Null => Value::Null,
        Json::Bool(yes) => Value::Bool(*yes),
        Json::Number(number) => number
            .as_i64()
            .map_or_else(|| Value::Float(number.as_f64().unwrap()), Value::Integer),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::Array(items.iter().map(node).collect()),
        Json::Object(map) => Value::Table(
            map.iter()
                .map(|(key, value)| Entry {
                    key: key.clone(),
                    key_span: Span::default(),
                    node: node(value),
                })
                .collect(),
        ),
    };
    Node {
        span: Span::default(),
        value,
    }
}

/// A request that filters are asked with.
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) target: &'static str,
    pub(super) fields: Vec<(&'static str, &'static str)>,
    pub(super) client: IpAddr,
    pub(super) millis: u64,
    pub(super) seed: u64,
}

/// What became of one.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) flow: Flow,
    pub(super) changes: Changes,
    pub(super) said: String,
}

impl Asking {
    /// The status of its reply; 0 when it goes on.
    pub(super) fn status(&self) -> u16 {
        match &self.flow {
            Flow::Reply(reply) => reply.status,
            _ => 0,
        }
    }

    /// The field `name` of its reply, or of the answer that it is to get.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        let own = match &self.flow {
            Flow::Reply(reply) => reply.headers.as_slice(),
            _ => &[],
        };
        let own = own
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone());
        let added = || self.changes.answer.added().find(|(known, _)| *known == name);
        own.or_else(|| added().map(|(_, value)| String::from_utf8_lossy(value).into_owned()))
    }
}

impl Request {
    pub(super) fn get() -> Self {
        Request {
            method: "GET",
            target: "/a?q=1",
            fields: Vec::new(),
            client: "192.0.2.1".parse().unwrap(),
            millis: 1_000,
            seed: 1,
        }
    }

    pub(super) fn from(client: &str) -> Self {
        Request {
            client: client.parse().unwrap(),
            ..Request::get()
        }
    }

    pub(super) fn at(millis: u64) -> Self {
        Request {
            millis,
            ..Request::get()
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.fields.push((name, value));
        self
    }

    /// With other luck than the last.
    pub(super) fn drawing(mut self, rng: &mut Rng) -> Self {
        self.seed = rng.bits();
        self
    }

    /// What `filter` makes of it.
    pub(super) fn ask(&self, filter: &dyn Filter) -> Asking {
        self.put(|head, cx| filter.request(head, cx), false)
    }

    /// What `filter` says that it would make of it.
    pub(super) fn question(&self, filter: &dyn Filter) -> Asking {
        self.put(|head, cx| filter.request(head, cx), true)
    }

    /// What `filter` makes of it after an errand.
    pub(super) fn resume(&self, filter: &dyn Filter, done: Done) -> Asking {
        self.put(|head, cx| filter.resume(done, head, cx), false)
    }

    fn put(&self, ask: impl FnOnce(&mut RequestView<'_>, &mut FilterCx<'_>) -> Flow, question: bool) -> Asking {
        let target = Target::Origin(self.target.as_bytes());
        let fields = Came(&self.fields);
        let asked = Asked::read(self.method, b"shop.example", target, &fields, false).unwrap();
        let (mut changes, mut said) = (Changes::default(), String::new());
        let mut head = RequestView {
            asked: &asked,
            changes: &mut changes,
            prefix: "",
        };
        let mut cx = FilterCx {
            dry_run: false,
            now: Now::from_millis(self.millis),
            rng: &mut Rng::seeded(self.seed),
            client: self.client,
            peer: (self.client, 1).into(),
            request_id: "id",
            scheme: "http",
            tls: None,
            route: "r",
            pool: "",
            is_question: question,
            said: question.then_some(&mut said),
        };
        let flow = ask(&mut head, &mut cx);
        Asking { flow, changes, said }
    }
}

struct Came<'f>(&'f [(&'static str, &'static str)]);

impl Fields for Came<'_> {
    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
        let mut values = self.0.iter().filter(|(known, _)| *known == name);
        let _ = values.all(|(_, value)| visit(value.as_bytes()));
    }
}
