//! What the resident process says of itself: to people by `mailstamp status` and `doctor`, to Prometheus by `/metrics` and
//! `/healthz`, and what of it the dashboard and the manual know. How it judges is shown elsewhere.

mod dashboard;
mod health;
mod numbers;
mod process;
mod prometheus;
