//! The one declaration from which a configuration's struct, decoder and JSON Schema are made.

/// Declares a table of the configuration.
///
/// Each field is a key: its doc comment is the key's documentation, `= value` its default; without one, the type's
/// [`absent`](crate::document::Decode::absent) value is used, and where there is none the key is required. A field
/// written `r#match` is the key `match`. Keys under `later` belong to the contract and are not built yet: naming one
/// is an error that says so.
///
/// ```
/// plimsoll_core::document! {
///     /// How long to wait.
///     pub struct Patience {
///         /// For a connection.
///         pub connect: std::time::Duration = std::time::Duration::from_secs(3),
///     } later { "weather" }
/// }
/// ```
#[macro_export]
macro_rules! document {
    (
        $(#[doc = $doc:expr])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $field_doc:expr])*
                $field_vis:vis $field:ident : $type:ty $(= $default:expr)?
            ),* $(,)?
        } $(later { $($later:literal),* $(,)? })?
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $name {
            $( $(#[doc = $field_doc])* $field_vis $field: $type, )*
        }

        impl $name {
            /// The keys that the table may have.
            $vis const KEYS: &'static [&'static str] = &[$($crate::document!(@key $field)),*];
            /// The keys of the contract that are not built yet.
            $vis const LATER: &'static [&'static str] = &[$($($later),*)?];
        }

        impl $crate::document::Decode for $name {
            fn decode(node: &$crate::document::Node, faults: &mut $crate::document::Faults) -> Option<Self> {
                let entries = $crate::document::expect_table(node, "a table", faults)?;
                $crate::document::refuse_unknown(entries, Self::KEYS, Self::LATER, faults);
                $(
                    let $field: Option<$type> = match node.field($crate::document!(@key $field)) {
                        // What cannot be read is an error already; with the default in its place the checks that
                        // come later find what else is wrong.
                        Some(value) => <$type as $crate::document::Decode>::decode(value, faults)
                            .or_else(|| $crate::document!(@fallback $type $(, $default)?)),
                        None => $crate::document!(@absent node, faults, $field, $type $(, $default)?),
                    };
                )*
                Some($name { $($field: $field?),* })
            }

            fn schema() -> $crate::document::Json {
                let properties = $crate::document::JsonMap::new();
                $(
                    let properties = $crate::document::with_property(
                        properties,
                        $crate::document!(@key $field),
                        <$type as $crate::document::Decode>::schema(),
                        &[$($field_doc),*],
                    );
                )*
                let doc: &[&str] = &[$($doc),*];
                let required: &[(&str, bool)] = &[
                    $(($crate::document!(@key $field), $crate::document!(@required $type $(, $default)?))),*
                ];
                $crate::document::with_required($crate::document::table_schema(properties, doc), required)
            }
        }
    };
    (@key $field:ident) => {{
        const NAME: &str = stringify!($field);
        const KEY: &str = $crate::document::plain(NAME);
        KEY
    }};
    (@required $type:ty) => { <$type as $crate::document::Decode>::absent().is_none() };
    (@required $type:ty, $default:expr) => { false };
    (@fallback $type:ty) => { <$type as $crate::document::Decode>::absent() };
    (@fallback $type:ty, $default:expr) => { Some($default) };
    (@absent $node:ident, $faults:ident, $field:ident, $type:ty) => {
        $crate::document::absent_or_fault::<$type>($node, $crate::document!(@key $field), $faults)
    };
    (@absent $node:ident, $faults:ident, $field:ident, $type:ty, $default:expr) => { Some($default) };
}

/// Declares an enumeration whose values are words. Words under `later` are known and not built yet.
#[macro_export]
macro_rules! words {
    (
        $(#[doc = $doc:expr])*
        $vis:vis enum $name:ident {
            $( $(#[doc = $variant_doc:expr])* $variant:ident = $word:literal ),* $(,)?
        } $(later { $($later:literal),* $(,)? })?
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name { $( $(#[doc = $variant_doc])* $variant ),* }

        impl $name {
            /// The words that can be written.
            $vis const WORDS: &'static [&'static str] = &[$($word),*];

            /// The word for this value.
            #[allow(dead_code, reason = "not every word is written anywhere again")]
            $vis const fn word(self) -> &'static str {
                match self { $( $name::$variant => $word ),* }
            }
        }

        impl $crate::document::Decode for $name {
            fn decode(node: &$crate::document::Node, faults: &mut $crate::document::Faults) -> Option<Self> {
                let later: &[&str] = &[$($($later),*)?];
                let word = $crate::document::expect_word(node, Self::WORDS, later, faults)?;
                $( if word == $word { return Some($name::$variant); } )*
                None
            }

            fn schema() -> $crate::document::Json {
                $crate::document::words_schema(Self::WORDS)
            }
        }
    };
}
