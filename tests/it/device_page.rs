//! The page at `/device`: as it is served, and as a person meets it in a browser.

mod branches;
mod decisions;
mod demo;
mod request;
mod served;
mod shown;
mod sso;
mod views;
mod visit;
