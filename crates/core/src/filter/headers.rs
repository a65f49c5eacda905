//! `headers`: fields of the request and of its answer are set, added and removed.
//!
//! In each direction, first what is to go goes, then what is set takes the place of what was there, then what is added
//! stands beside it. What the answer shall carry holds for every answer, also for those of our own.

use std::borrow::Cow;

use super::{FieldMap, FieldName, Filter, FilterCx, FilterKind, Flow, Keep, RequestView};
use crate::document;
use crate::template::{AnswerTemplate, Position, Template};

document! {
    /// Fields of the request and of its answer are set, added and removed.
    pub struct Headers {
        /// Of the request, on its way to the backend.
        request: Option<RequestFields>,
        /// Of the answer, on its way to the client.
        response: Option<AnswerFields>,
    }
}

document! {
    /// What is done to the fields of a request.
    struct RequestFields {
        /// These take the place of what was there; one that is made of placeholders alone, which are all empty, goes.
        set: FieldMap<Template>,
        /// These stand beside what was there.
        add: FieldMap<Template>,
        /// These go.
        remove: Vec<FieldName>,
    }
}

document! {
    /// What is done to the fields of an answer.
    struct AnswerFields {
        /// These take the place of what was there.
        set: FieldMap<AnswerTemplate>,
        /// These stand beside what was there.
        add: FieldMap<AnswerTemplate>,
        /// These go.
        remove: Vec<FieldName>,
    }
}

impl FilterKind for Headers {
    fn build(&self, _: &mut dyn Keep) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}

impl Filter for Headers {
    fn request(&self, head: &mut RequestView<'_>, cx: &mut FilterCx<'_>) -> Flow {
        if let Some(own) = &self.request {
            for name in &own.remove {
                cx.say(|| format!("removes {}", name.0));
                head.changes.request.remove(&name.0);
            }
            for (name, template) in own.set.iter() {
                cx.say(|| format!("sets {}", name.0));
                match value(template, head, cx) {
                    Some(value) => head.changes.request.set(&name.0, &value),
                    None => head.changes.request.remove(&name.0),
                }
            }
            for (name, template) in own.add.iter() {
                cx.say(|| format!("adds {}", name.0));
                if let Some(value) = value(template, head, cx) {
                    head.changes.request.add(&name.0, &value);
                }
            }
        }
        if let Some(own) = &self.response {
            own.apply(head, cx);
        }
        Flow::Next
    }
}

impl AnswerFields {
    fn apply(&self, head: &mut RequestView<'_>, cx: &mut FilterCx<'_>) {
        for name in &self.remove {
            cx.say(|| format!("removes {} of the answer", name.0));
            head.changes.answer.remove(&name.0);
        }
        for (name, template) in self.set.iter() {
            cx.say(|| format!("sets {} of the answer", name.0));
            match value(&template.0, head, cx) {
                Some(value) => head.changes.answer.set(&name.0, &value),
                None => head.changes.answer.remove(&name.0),
            }
        }
        for (name, template) in self.add.iter() {
            cx.say(|| format!("adds {} to the answer", name.0));
            if let Some(value) = value(&template.0, head, cx) {
                head.changes.answer.add(&name.0, &value);
            }
        }
    }
}

/// Room for a rendered value, in bytes: most fit.
const VALUE: usize = 64;

/// What `template` is for this request; `None` when it is made of placeholders that have nothing to stand for.
fn value<'t>(template: &'t Template, head: &RequestView<'_>, cx: &FilterCx<'_>) -> Option<Cow<'t, [u8]>> {
    if let Some(text) = template.as_text() {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    let mut out = Vec::with_capacity(VALUE);
    template.render(&mut out, Position::Field, &cx.values(head, &head.fields()));
    (!out.is_empty() || !template.is_only_places()).then_some(Cow::Owned(out))
}
