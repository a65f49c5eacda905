//! Messages: HTTP/1.1, HTTP/2 and HTTP/3 heads and bodies, header hygiene, and the reuse cache. It knows no pool and no route.

mod answer_fields;
pub mod field;
pub mod h1;
pub mod h2;
pub mod h3;
mod head_text;
mod huffman;
mod prefixed;
pub mod reuse;
pub mod websocket;
