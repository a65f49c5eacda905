//! The list of policies, and what is made of it: the modules, the configuration enum, its decoder, and the match that
//! builds. rustfmt does not look inside macros: format a policy's file by its name.

/// `policies! { "name" => module::Type, "other" | "alias" => … }` makes `PolicyConfig`, `NAMES` and their impls.
macro_rules! policies {
    ($( $name:literal $(| $alias:literal)* => $module:ident :: $type:ident ),* $(,)?) => {
        $( mod $module; )*

        /// Every policy's name, without aliases.
        pub const NAMES: &[&str] = &[$($name),*];

        /// A policy and its settings, as the configuration names it.
        #[derive(Clone, Debug, PartialEq)]
        pub enum PolicyConfig {
            $( #[doc = concat!("`", $name, "`.")] $type($module::$type) ),*
        }

        impl PolicyConfig {
            /// The policy's name.
            pub fn name(&self) -> &'static str {
                match self { $( PolicyConfig::$type(_) => $name ),* }
            }

            /// The policy called `name`, with its default settings.
            pub fn named(name: &str) -> Option<Self> {
                let mut faults = $crate::document::Faults::default();
                let empty = $crate::document::Node {
                    span: $crate::document::Span::default(),
                    value: $crate::document::Value::Table(Vec::new()),
                };
                Self::from_table(name, &empty, &mut faults)
            }

            fn from_table(
                name: &str,
                table: &$crate::document::Node,
                faults: &mut $crate::document::Faults,
            ) -> Option<Self> {
                use $crate::document::Decode;
                match name {
                    $( $name $(| $alias)* => $module::$type::decode(table, faults).map(PolicyConfig::$type), )*
                    _ => None,
                }
            }

            fn table_schemas() -> Vec<(&'static [&'static str], $crate::document::Json)> {
                use $crate::document::Decode;
                vec![$( (&[$name, $($alias,)*], $module::$type::schema()) ),*]
            }

            const WORDS: &'static [&'static str] = &[$($name, $($alias,)*)*];
        }

        impl Policy for PolicyConfig {
            fn build(&self, members: &Members) -> Box<dyn Picker> {
                match self { $( PolicyConfig::$type(policy) => policy.build(members) ),* }
            }

            fn key(&self) -> Option<&HashKey> {
                match self { $( PolicyConfig::$type(policy) => policy.key() ),* }
            }
        }
    };
}

use super::PolicyConfig;
use crate::document::{Decode, Faults, Json, Node, Value, expect_word, table_schema, with_required, words_schema};

impl Decode for PolicyConfig {
    /// Either a name, or a table with `kind` and the policy's own keys.
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        match &node.value {
            Value::Table(entries) => {
                let Some(kind) = node.field("kind") else {
                    faults
                        .error(node.span, "the key `kind` is missing")
                        .help("policy = { kind = \"maglev\", … }");
                    return None;
                };
                let name = expect_word(kind, Self::WORDS, &[], faults)?;
                let own = entries.iter().filter(|entry| entry.key != "kind").cloned().collect();
                Self::from_table(
                    name,
                    &Node {
                        span: node.span,
                        value: Value::Table(own),
                    },
                    faults,
                )
            }
            _ => {
                let name = expect_word(node, Self::WORDS, &[], faults)?;
                Self::from_table(
                    name,
                    &Node {
                        span: node.span,
                        value: Value::Table(Vec::new()),
                    },
                    faults,
                )
            }
        }
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }

    fn schema() -> Json {
        let mut forms = vec![words_schema(Self::WORDS)];
        for (names, schema) in Self::table_schemas() {
            let mut properties = schema["properties"].as_object().cloned().unwrap_or_default();
            properties.insert("kind".into(), words_schema(names));
            forms.push(with_required(table_schema(properties, &[]), &[("kind", true)]));
        }
        serde_json::json!({ "anyOf": forms })
    }
}
