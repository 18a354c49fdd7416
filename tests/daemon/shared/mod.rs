//! One used log for several hosts, in PostgreSQL (mailstamp-store(8)): two homes stand for two hosts.

mod commands;
mod namespaces;
mod recipe;
mod troubles;

use crate::support::Home;
use crate::support::postgres::{Cluster, ROLE};
use std::fs;

/// The table `[store]` for a database of this server, over its socket.
pub fn store(cluster: &Cluster, database: &str) -> String {
    let (folder, port) = (cluster.host(), cluster.port());
    format!(
        "[store]\nkind = \"postgres\"\nhosts = [\"{folder}:{port}\"]\ndatabase = \"{database}\"\nuser = \"{ROLE}\"\n"
    )
}

/// Two hosts with this configuration, which trust one vendor.
pub fn two_hosts(configuration: &str) -> (Home, Home) {
    let (one, two) = (Home::new(), Home::new());
    let vendors = |home: &Home| home.config().with_file_name("vendors");
    for entry in fs::read_dir(vendors(&one)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), vendors(&two).join(entry.file_name())).unwrap();
    }
    one.configure(configuration);
    two.configure(configuration);
    (one, two)
}

/// Two hosts with a log in a new database of the shared server.
pub fn sharing() -> (Home, Home, String) {
    let cluster = Cluster::shared();
    let database = cluster.database();
    let (one, two) = two_hosts(&format!("addresses = [\"*@x.example\"]\n{}", store(cluster, &database)));
    one.run(["store", "init"], b"").exits(0);
    (one, two, database)
}
