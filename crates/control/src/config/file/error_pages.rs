//! `error_pages = { … }`: other bodies for the replies that we make ourselves.

use plimsoll_core::document;
use plimsoll_core::document::{Decode, Faults, Json, Located, Node, Span, Value, expect_table, expect_word, nearest};
use plimsoll_core::error_page::{For, Media, PAGE_BYTES_MAX};
use plimsoll_core::filter::FileName;
use serde_json::json;

use super::values::Many;

/// Pages by what they are for, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct ErrorPages(pub(in super::super) Vec<(For, Many<Page>)>);

/// A page.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Page {
    /// What it is written in.
    pub(in super::super) media: Media,
    /// Where its text is.
    pub(in super::super) text: PageText,
}

/// Where a page's text is.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum PageText {
    /// Here.
    Body(String),
    /// In a file.
    File(FileName),
}

document! {
    /// A page: its text, or the file that has it.
    struct PageTable {
        /// A file, which is watched.
        file: Option<FileName>,
        /// The text itself.
        body: Option<Located<String>>,
        /// What it is written in: by the file's extension, and of a body "text/plain", unless set.
        content_type: Option<MediaWord>,
    }
}

/// What a page may be written in.
#[derive(Clone, Copy, Debug, PartialEq)]
struct MediaWord(Media);

impl Decode for MediaWord {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let words = Media::ALL.map(Media::essence);
        let word = expect_word(node, &words, &[], faults)?;
        Media::ALL
            .into_iter()
            .find(|media| media.essence() == word)
            .map(MediaWord)
    }

    fn schema() -> Json {
        json!({ "type": "string", "enum": Media::ALL.map(Media::essence) })
    }
}

impl Decode for Page {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let table = match &node.value {
            Value::Table(_) => PageTable::decode(node, faults)?,
            _ => PageTable {
                file: Some(FileName::decode(node, faults)?),
                body: None,
                content_type: None,
            },
        };
        let written = table.content_type.map(|MediaWord(media)| media);
        match (table.file, table.body) {
            (Some(file), None) => {
                let media = written.or_else(|| Media::of_file(&file.written));
                if media.is_none() {
                    faults
                        .error(
                            file.span,
                            format!("what is \"{}\" written in?", file.written.escape_debug()),
                        )
                        .help("add content_type = \"text/html\"; .html, .json and .txt say so themselves");
                }
                let text = PageText::File(file);
                media.map(|media| Page { media, text })
            }
            (None, Some(body)) if body.len() > PAGE_BYTES_MAX => {
                faults.error(
                    body.span,
                    format!("the page is longer than {} KiB", PAGE_BYTES_MAX >> 10),
                );
                None
            }
            (None, Some(body)) => Some(Page {
                media: written.unwrap_or(Media::Plain),
                text: PageText::Body(body.value),
            }),
            _ => {
                faults
                    .error(node.span, "a page has either a file or a body")
                    .help("{ file = \"503.html\" }, or { body = \"back soon\" }");
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "anyOf": [FileName::schema(), PageTable::schema()] })
    }
}

impl Decode for ErrorPages {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let entries = expect_table(node, "a table of pages", faults)?;
        let mut pages = Vec::new();
        for entry in entries {
            let on = For::parse(&entry.key);
            if on.is_none() {
                refuse(&entry.key, entry.key_span, faults);
            }
            let kinds = Many::<Page>::decode(&entry.node, faults);
            if let Some(kinds) = &kinds {
                check_kinds(kinds, faults);
            }
            pages.extend(on.zip(kinds));
        }
        Some(ErrorPages(pages))
    }

    fn absent() -> Option<Self> {
        Some(ErrorPages::default())
    }

    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": Many::<Page>::schema() })
    }
}

/// Of two pages in one kind nobody would ever get the second.
fn check_kinds(kinds: &Many<Page>, faults: &mut Faults) {
    for (at, page) in kinds.items.iter().enumerate() {
        let before = kinds.items[..at]
            .iter()
            .find(|before| before.value.media == page.value.media);
        if let Some(before) = before {
            let kind = page.value.media.essence();
            faults
                .error(page.span, format!("two pages are {kind}"))
                .also(before.span, "first here");
        }
    }
}

fn refuse(key: &str, span: Span, faults: &mut Faults) {
    let words = For::reasons().map(|reason| reason.word()).chain(For::CLASSES);
    let fault = faults.error(span, format!("`{key}` is no reason, status or class"));
    match nearest(key, words) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => fault.help("write a reason, like no_backend, a status from 400 to 599, 4xx or 5xx"),
    };
}

/// The file that a page is in, if it is in one.
impl Page {
    pub(in super::super) fn file(&self) -> Option<&FileName> {
        match &self.text {
            PageText::File(file) => Some(file),
            PageText::Body(_) => None,
        }
    }
}
