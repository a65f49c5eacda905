//! What a page is written in, and what a client would rather have.

use crate::route::Fields;
use crate::template::Position;

/// What a page is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// HTML.
    Html,
    /// JSON.
    Json,
    /// Plain text.
    Plain,
}

impl Media {
    /// All of them.
    pub const ALL: [Media; 3] = [Media::Html, Media::Json, Media::Plain];

    /// Its type, without parameters.
    pub const fn essence(self) -> &'static str {
        match self {
            Media::Html => "text/html",
            Media::Json => "application/json",
            Media::Plain => "text/plain",
        }
    }

    /// Its `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Media::Html => "text/html; charset=utf-8",
            Media::Json => "application/json",
            Media::Plain => "text/plain; charset=utf-8",
        }
    }

    /// What a file of this name holds, by its extension.
    pub fn of_file(name: &str) -> Option<Media> {
        let (_, extension) = name.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "html" | "htm" => Some(Media::Html),
            "json" => Some(Media::Json),
            "txt" => Some(Media::Plain),
            _ => None,
        }
    }

    pub(super) const fn position(self) -> Position {
        match self {
            Media::Html => Position::Html,
            Media::Json => Position::Json,
            Media::Plain => Position::Plain,
        }
    }
}

/// How welcome each kind of page is, in thousandths (RFC 9110 §12.4.2); in the order of [`Media::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish(pub(super) [u16; Media::ALL.len()]);

impl Default for Wish {
    /// Whoever wishes for nothing takes anything.
    fn default() -> Self {
        Wish([1_000; Media::ALL.len()])
    }
}

impl Wish {
    /// What the `Accept` of a request says: of the ranges that hold for a type, the most precise one counts (§12.5.1).
    pub fn of(fields: &dyn Fields) -> Self {
        // How precise the range was that counts so far, and its weight.
        let mut found = [(0_u8, 0_u16); Media::ALL.len()];
        let mut any = false;
        fields.each("accept", &mut |value| {
            for member in value.split(|byte| *byte == b',') {
                let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
                let range = parts.next().unwrap_or_default();
                let weight = parts.find_map(weight).unwrap_or(1_000);
                any |= !range.is_empty();
                for (media, known) in Media::ALL.iter().zip(&mut found) {
                    let precision = precision(range, media.essence().as_bytes());
                    if precision > known.0 {
                        *known = (precision, weight);
                    }
                }
            }
            true
        });
        if any {
            Wish(found.map(|(_, weight)| weight))
        } else {
            Wish::default()
        }
    }

    pub(super) fn weight(self, media: Media) -> u16 {
        self.0[media as usize]
    }
}

/// How precisely a range names a type: 0 for not at all.
fn precision(range: &[u8], essence: &[u8]) -> u8 {
    let family = essence.split(|byte| *byte == b'/').next().unwrap_or_default();
    match range {
        b"*/*" => 1,
        _ if range.eq_ignore_ascii_case(essence) => 3,
        _ => {
            let of_family = range
                .strip_suffix(b"/*")
                .is_some_and(|range| range.eq_ignore_ascii_case(family));
            if of_family { 2 } else { 0 }
        }
    }
}

/// `q=0.5` in thousandths; `None` when it is another parameter, and 0 when nobody can read it.
fn weight(parameter: &[u8]) -> Option<u16> {
    let (name, value) = std::str::from_utf8(parameter).ok()?.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let number: f32 = value.trim().parse().unwrap_or(0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0 to 1000"
    )]
    let thousandths = (number.clamp(0.0, 1.0) * 1_000.0) as u16;
    Some(thousandths)
}
