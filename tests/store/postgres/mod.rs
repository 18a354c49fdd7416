//! The used log of several hosts, in a real PostgreSQL: what its faults and races may not break.

use crate::support::postgres::{Cluster, Setup};
use crate::support::proxy::{Direction, Fault, Proxy};

#[test]
fn smoke() {
    let began = std::time::Instant::now();
    let shared = Cluster::shared();
    let database = shared.database();
    assert_eq!(shared.sql(&database, "select 1"), "1");
    eprintln!("shared {:?}", began.elapsed());
    let cluster = Cluster::new(Setup { durable: true, ..Setup::default() });
    eprintln!("own {:?}", began.elapsed());
    let standby = cluster.standby(Setup::default());
    eprintln!("standby {:?}", began.elapsed());
    cluster.set("synchronous_standby_names", "'*'");
    let database = cluster.database();
    cluster.kill();
    eprintln!("killed {:?}", began.elapsed());
    cluster.start();
    eprintln!("started {:?}", began.elapsed());
    standby.freeze();
    standby.thaw();
    standby.promote();
    assert_eq!(standby.sql(&database, "select pg_is_in_recovery()"), "f");
    eprintln!("promoted {:?}", began.elapsed());
    let authority = crate::support::postgres::Authority::new();
    shared.certify(&authority, "localhost");
    eprintln!("certified {:?}", began.elapsed());
    let disk = Cluster::new(Setup { disk: Some("64m"), ..Setup::default() });
    eprintln!("disk {:?}", began.elapsed());
    drop(disk);
    eprintln!("ended {:?}", began.elapsed());
    let proxy = Proxy::new(shared.port());
    for after in 0..600 {
        proxy.plan(Direction::ToClient, after * 30, Fault::Cut);
        let mut psql = shared.psql("postgres");
        psql.args(["-h", "127.0.0.1", "-p", &proxy.port().to_string(), "-U", "mailstamp", "-c", "select 7"]);
        psql.env("PGPASSWORD", "correct horse").env("PGSSLMODE", "disable");
        let ran = crate::support::run(&mut psql, b"");
        if !proxy.is_broken() {
            assert_eq!(ran.text().trim(), "7");
            eprintln!("{after} {:?}", proxy.passed(Direction::ToClient).len());
            break;
        }
        assert_ne!(ran.code, 0);
    }
    eprintln!("proxy {:?}", began.elapsed());
}
