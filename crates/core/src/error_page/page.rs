//! A page's text, and its placeholders.

use crate::filter::{Contents, Wrong};
use crate::template::{Position, put};

/// The longest page, in bytes; we serve no files.
pub const PAGE_BYTES_MAX: usize = 256 << 10;

/// A page's text, cut at its placeholders. Any other brace is text, as CSS and JSON have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(Place),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Reason,
    Status,
    Message,
    RequestId,
}

const PLACES: [(&str, Place); 4] = [
    ("{reason}", Place::Reason),
    ("{status}", Place::Status),
    ("{message}", Place::Message),
    ("{request.id}", Place::RequestId),
];

/// What a page may tell of a reply.
#[derive(Clone, Copy, Debug)]
pub struct Told<'t> {
    /// The status.
    pub status: u16,
    /// The reason's word; empty when it has none, or none that clients may know.
    pub reason: &'t str,
    /// What it says in words.
    pub message: &'t str,
    /// The request's id; empty when it has none.
    pub request_id: &'t str,
}

impl Page {
    /// Reads a text.
    pub fn of(text: &str) -> Self {
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find('{') {
            let (before, found) = rest.split_at(at);
            plain.push_str(before);
            let Some((name, place)) = PLACES.into_iter().find(|(name, _)| found.starts_with(name)) else {
                plain.push('{');
                rest = &found[1..];
                continue;
            };
            rest = &found[name.len()..];
            // As everywhere, braces that are meant are doubled.
            if plain.ends_with('{') && rest.starts_with('}') {
                plain.push_str(&name[1..]);
                rest = &rest[1..];
                continue;
            }
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Place(place));
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Page(pieces)
    }

    /// The page for one reply, what it tells escaped for where it stands.
    pub fn render(&self, position: Position, told: &Told<'_>) -> String {
        let mut out = Vec::new();
        let status = told.status.to_string();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Place(place) => {
                    let value = match place {
                        Place::Reason => told.reason,
                        Place::Status => &status,
                        Place::Message => told.message,
                        Place::RequestId => told.request_id,
                    };
                    put(&mut out, position, value.as_bytes());
                }
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}

impl Contents for Page {
    fn parse(text: &str) -> Result<Self, Wrong> {
        if text.len() > PAGE_BYTES_MAX {
            let message = format!("is longer than {} KiB", PAGE_BYTES_MAX >> 10);
            return Err(Wrong::whole(message));
        }
        Ok(Page::of(text))
    }

    fn entries(&self) -> usize {
        1
    }
}
