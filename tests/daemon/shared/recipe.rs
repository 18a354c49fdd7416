//! The recipe for two mail hosts and a primary with a standby: rules/store-milter.toml and what it names.

use super::two_hosts;
use crate::support::milter::MailSystem;
use crate::support::postgres::{Authority, Cluster, Setup};
use crate::support::programs::{chmod, eventually, recipe};
use crate::support::resident::Resident;
use crate::support::{ALICE, Home, letter};
use std::fs;

#[test]
fn two_hosts_with_a_milter_and_a_server_with_a_standby() {
    let authority = Authority::new();
    let settings = recipe("postgresql-mailstamp.conf", &[("\nssl = on", ""), ("fsync = on", "fsync = off")]);
    let settings: Vec<&str> = settings.lines().filter(|line| !line.starts_with('#')).collect();
    // A standby of the harness has no certificate when it starts.
    let alone: Vec<&str> = settings.iter().copied().filter(|line| !line.starts_with("synchronous_standby")).collect();
    let primary = Cluster::new(Setup { settings: &alone, ..Setup::default() });
    primary.certify(&authority, &["127.0.0.1"]);
    let standby = primary.standby(Setup { settings: &alone, ..Setup::default() });
    let names = settings.iter().find_map(|line| line.strip_prefix("synchronous_standby_names = ")).unwrap();
    primary.set("synchronous_standby_names", names);
    // The harness has made the role.
    primary.sql("postgres", "drop role mailstamp");
    primary.sql("postgres", &recipe("postgresql-mailstamp.sql", &[]));
    primary.sql("postgres", "alter role mailstamp password 's3cret'");

    let (one, two) = two_hosts("");
    let hosts = format!("\"127.0.0.1:{}\", \"127.0.0.1:{}\"", standby.port(), primary.port());
    for home in [&one, &two] {
        fs::create_dir_all(home.state()).unwrap();
        let password = home.file("store-password");
        fs::write(&password, "s3cret\n").unwrap();
        chmod(&password, 0o600);
        home.configure(&recipe(
            "store-milter.toml",
            &[
                ("/etc/mailstamp/store-password", password.to_str().unwrap()),
                ("/etc/mailstamp/store-ca.pem", authority.certificate().to_str().unwrap()),
                ("\"db1.your.example\", \"db2.your.example\"", &hosts),
                ("\"/var/lib/mailstamp\"", &format!("{:?}", home.state())),
                ("/run/mailstamp-milter/socket", home.file("milter").to_str().unwrap()),
                ("*@your.example", "*@x.example"),
            ],
        ));
    }
    one.run(["store", "init"], b"").exits(0);
    let _daemons = (Resident::of(&one), Resident::of(&two));
    let judged = |home: &Home, message: &[u8]| {
        let answer = MailSystem::connect(&home.file("milter")).message(&[ALICE], message);
        answer.inserted("Digital-Stamp-Class").map_or(answer.last.clone(), str::to_owned)
    };
    // The class, once the server answers in time.
    let class = |home: &Home, message: &[u8]| {
        eventually("a class", || Some(judged(home, message)).filter(|answer| !answer.starts_with("y451")))
    };
    let message = one.stamped(&letter("1"));
    assert!(judged(&one, &message).starts_with(" first-class; reason=paid"));
    assert!(judged(&two, &message).starts_with(" first-class; reason=again"));
    let doctor = one.run(["doctor"], b"").text();
    assert!(doctor.contains("1, synchronous") && doctor.contains("synchronous_commit = on"), "{doctor}");

    // The standby knows what was answered, and takes over.
    let last = one.stamped(&letter("2"));
    assert!(judged(&two, &last).starts_with(" first-class; reason=paid"));
    primary.kill();
    assert!(judged(&one, &last).starts_with("y451 4.7.1"));
    standby.promote();
    let known = class(&one, &last);
    assert!(known.starts_with(" first-class; reason=again"), "{known}");
    assert!(class(&two, &message).starts_with(" first-class; reason=again"));
    let other = one.affix(&one.issue(ALICE, []), &letter("3"));
    assert!(class(&two, &other).starts_with(" first-class; "));
}

/// A drop-in adds to the unit and closes nothing that the unit needs.
#[test]
fn the_unit_reaches_the_servers_of_the_drop_in() {
    let unit = recipe("mailstamp-system.service", &[]);
    let drop_in = recipe("mailstamp-store.conf", &[]);
    let families = unit.lines().find_map(|line| line.strip_prefix("RestrictAddressFamilies=")).unwrap();
    assert!(["AF_INET", "AF_INET6", "AF_UNIX"].iter().all(|family| families.contains(family)), "{families}");
    let settings: Vec<&str> = drop_in.lines().filter(|line| line.contains('=') && !line.starts_with('#')).collect();
    assert_eq!(
        settings,
        [
            "Wants=network-online.target",
            "After=network-online.target",
            "IPAddressAllow=192.0.2.21 192.0.2.22",
            "ReadWritePaths=/run/mailstamp-milter"
        ]
    );
    assert!(unit.contains("\nIPAddressDeny=any\n"));
}
