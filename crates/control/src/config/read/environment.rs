//! `${NAME}` in text values is what the environment variable NAME holds. `$${` is a plain `${`. Keys are left alone.

use plimsoll_core::document::{Faults, Node, Span, Value};

use super::{Environment, span};

/// Fills in the variables of every text in `node`, which was read from `source`.
pub(super) fn fill(node: &mut Node, source: &str, environment: Environment<'_>, faults: &mut Faults) {
    match &mut node.value {
        Value::Text(text) if text.contains("${") => {
            if let Some(value) = filled(text, node.span, source, environment, faults) {
                node.value = value;
            }
        }
        Value::Table(entries) => {
            for entry in entries {
                fill(&mut entry.node, source, environment, faults);
            }
        }
        Value::Array(items) => {
            for item in items {
                fill(item, source, environment, faults);
            }
        }
        _ => {}
    }
}

/// `text` with its variables filled in; `None` when one of them cannot be.
fn filled(text: &str, place: Span, source: &str, environment: Environment<'_>, faults: &mut Faults) -> Option<Value> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    let mut complete = true;
    let mut variables = 0;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$${") {
            result.push_str("${");
            rest = after;
            continue;
        }
        let Some(inner) = rest.strip_prefix("${") else {
            result.push('$');
            rest = &rest[1..];
            continue;
        };
        let Some(end) = inner.find('}').filter(|end| is_name(&inner[..*end])) else {
            faults
                .error(within(place, source, "${"), "`${` begins no variable's name")
                .help("write ${NAME} for an environment variable, and $${ for a plain ${");
            return None;
        };
        let name = &inner[..end];
        match environment(name) {
            Some(value) => result.push_str(&value),
            None => {
                complete = false;
                let written = format!("${{{name}}}");
                faults
                    .error(
                        within(place, source, &written),
                        format!("the environment variable `{name}` is not set"),
                    )
                    .help(format!("set it, or write $${{{name}}} for the plain text"));
            }
        }
        variables += 1;
        rest = &inner[end + 1..];
    }
    result.push_str(rest);
    let whole = variables == 1 && text.starts_with("${") && text.find('}') == Some(text.len() - 1);
    complete.then_some(if whole {
        Value::Variable(result)
    } else {
        Value::Text(result)
    })
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Where `written` stands in `place`; the whole of it when it is written with escapes.
fn within(place: Span, source: &str, written: &str) -> Span {
    source
        .get(place.start as usize..place.end as usize)
        .and_then(|text| text.find(written))
        .map_or(place, |at| {
            let start = place.start as usize + at;
            span(place.file, start, start + written.len())
        })
}
