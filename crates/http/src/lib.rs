//! Messages: HTTP/1.1 and HTTP/2 heads and bodies, header hygiene, and the reuse cache. It knows no pool and no route.

pub mod field;
pub mod h1;
pub mod h2;
pub mod reuse;
pub mod websocket;
