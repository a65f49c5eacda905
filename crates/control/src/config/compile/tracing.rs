//! `[tracing]`.

use plimsoll_core::trace::TraceSettings;

use super::super::file::{FieldText, Follows, Tracing};
use super::super::plan::{FieldSource, TracingPlan};
use super::super::source::Sources;

/// How requests are traced.
pub(super) fn settings(tracing: &Tracing) -> TraceSettings {
    TraceSettings {
        sample: tracing.sample.0,
        failures: tracing.failures,
        believes_anyone: tracing.continue_from == Follows::Anyone,
    }
}

/// Whom traces are told.
pub(super) fn plan(tracing: &Tracing, sources: &Sources) -> TracingPlan {
    let field = |text: &FieldText| match text {
        FieldText::Here(text) => FieldSource::Text(text.clone()),
        FieldText::In(path) => FieldSource::File(sources.resolve(path.span, path)),
    };
    TracingPlan {
        url: tracing.otlp.value.0.clone(),
        authorities: tracing.ca.as_ref().map(|path| sources.resolve(path.span, path)),
        headers: (tracing.headers.0.iter())
            .map(|(name, text)| (name.to_ascii_lowercase(), field(text)))
            .collect(),
        service_name: tracing.service_name.clone(),
        attributes: (tracing.attributes.0.iter())
            .map(|(name, value)| (name.value.clone(), value.clone()))
            .collect(),
    }
}
