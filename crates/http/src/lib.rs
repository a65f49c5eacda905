//! Messages: HTTP/1.1, HTTP/2 and HTTP/3 heads and bodies, header hygiene, and the reuse cache. It knows no pool and no route.

pub mod field;
pub mod h1;
pub mod h2;
pub mod h3;
pub mod reuse;
pub mod websocket;
