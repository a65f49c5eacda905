//! The list of filters, and what is made of it: the modules, the configuration enum, its decoder, and the match that
//! builds. rustfmt does not look inside macros: format a filter's file by its name.

/// `filters! { "name" => module::Type, … }` makes `FilterConfig`, `KINDS` and their impls.
macro_rules! filters {
    ($( $name:literal => $module:ident :: $type:ident ),* $(,)?) => {
        $( mod $module; )*

        /// Every filter's name.
        pub const KINDS: &[&str] = &[$($name),*];

        /// A filter and its settings, as the configuration names it.
        #[derive(Clone, Debug, PartialEq)]
        pub enum FilterConfig {
            $( #[doc = concat!("`", $name, "`.")] $type($module::$type) ),*
        }

        impl FilterConfig {
            /// The filter's name.
            pub fn kind(&self) -> &'static str {
                match self { $( FilterConfig::$type(_) => $name ),* }
            }

            /// Builds it.
            pub fn build(&self, keep: &mut dyn Keep) -> Box<dyn Filter> {
                match self { $( FilterConfig::$type(filter) => filter.build(keep) ),* }
            }

            /// The files that it names.
            pub fn files(&mut self) -> Vec<FileUse<'_>> {
                match self { $( FilterConfig::$type(filter) => filter.files() ),* }
            }

            /// The fields of requests that it vouches for.
            pub fn vouches(&self) -> Vec<&FieldName> {
                match self { $( FilterConfig::$type(filter) => filter.vouches() ),* }
            }

            fn from_table(
                kind: &str,
                table: &$crate::document::Node,
                faults: &mut $crate::document::Faults,
            ) -> Option<Self> {
                use $crate::document::Decode;
                match kind {
                    $( $name => $module::$type::decode(table, faults).map(FilterConfig::$type), )*
                    _ => None,
                }
            }

            fn table_schemas() -> Vec<(&'static str, $crate::document::Json)> {
                use $crate::document::Decode;
                vec![$( ($name, $module::$type::schema()) ),*]
            }
        }
    };
}

use super::{FilterConfig, KINDS};
use crate::document::{
    Decode, Faults, Json, Node, Value, expect_table, expect_word, table_schema, with_required, words_schema,
};

/// Filters of the contract that are not built yet.
const LATER: &[&str] = &[];

/// A filter of a chain.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterEntry {
    /// What it does.
    pub config: FilterConfig,
    /// It only tells what it would have refused.
    pub dry_run: bool,
}

/// Keys that every filter has.
const COMMON: [&str; 2] = ["kind", "dry_run"];

impl Decode for FilterEntry {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let entries = expect_table(node, "a filter, like { kind = \"headers\", … }", faults)?;
        let Some(kind) = node.field("kind") else {
            faults
                .error(node.span, "the key `kind` is missing")
                .help(format!("known here: {}", KINDS.join(", ")));
            return None;
        };
        let kind = expect_word(kind, KINDS, LATER, faults)?;
        let dry_run = node.field("dry_run").map(|node| bool::decode(node, faults));
        let own = entries.iter().filter(|entry| !COMMON.contains(&&*entry.key)).cloned();
        let table = Node {
            span: node.span,
            value: Value::Table(own.collect()),
        };
        let config = FilterConfig::from_table(kind, &table, faults)?;
        Some(FilterEntry {
            config,
            dry_run: dry_run.unwrap_or(Some(false))?,
        })
    }

    fn schema() -> Json {
        let forms = FilterConfig::table_schemas().into_iter().map(|(name, schema)| {
            let mut properties = schema["properties"].as_object().cloned().unwrap_or_default();
            properties.insert("kind".into(), words_schema(&[name]));
            properties.insert("dry_run".into(), bool::schema());
            let own = schema["required"].as_array().cloned().unwrap_or_default();
            let mut required: Vec<(&str, bool)> = own.iter().filter_map(Json::as_str).map(|key| (key, true)).collect();
            required.push(("kind", true));
            with_required(table_schema(properties, &[]), &required)
        });
        serde_json::json!({ "anyOf": forms.collect::<Vec<_>>() })
    }
}
