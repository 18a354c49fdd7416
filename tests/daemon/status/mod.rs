//! Status of the daemon: for people by `mailstamp status` and `doctor`, for Prometheus by `/metrics` and `/healthz`.
//! The dashboard and the manual are compared with it. Judging is tested elsewhere.

mod dashboard;
mod health;
mod numbers;
pub mod process;
mod prometheus;
