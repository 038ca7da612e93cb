//! Apps as their clients and their developers see them.

mod failures;
mod lifecycle;
mod limits;
mod requests;
mod snapshots;
mod spin1;
mod sql;
mod streaming;
mod wagi;
mod wasi03;
mod wasi03_program;
