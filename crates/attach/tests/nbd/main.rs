//! The NBD server, seen by clients: one of its own, made for these tests, and those that people use.
#![cfg(unix)]

mod client;
mod conversation;
mod devices;
mod judges;
mod model;
mod orderly;
mod running;
mod tls;
