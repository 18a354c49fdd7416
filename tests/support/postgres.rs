//! PostgreSQL servers of the tests: a cluster in a temporary folder, with a Unix socket and a port of the loopback
//! interface. It can be killed, stopped, restarted, replicated and given a certificate.
//!
//! PostgreSQL refuses to run as root. As root, the server runs as the user of Debian's package.
//!
//! The server ends with the test program, however that ends: a watcher reads a pipe that only the test program holds
//! open, then stops the server and removes the folder.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use super::programs::{PATIENCE, Port, chmod, eventually_or, give, tail};
use super::{Run, run};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use zeroize::Zeroizing;

/// The superuser; needs no password on the socket.
pub const SUPERUSER: &str = "postgres";
/// The role that owns the databases, and its password; needs none on the socket.
pub const ROLE: &str = "mailstamp";
pub const PASSWORD: &str = "correct horse";

/// How a server is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setup<'a> {
    /// Whether it syncs. Without, a commit costs no wait for the disk, and a cut of power would lose it.
    pub durable: bool,
    /// Lines of `postgresql.conf`.
    pub settings: &'a [&'a str],
    /// The size of a disk of its own, as an option of tmpfs(5). Such a server cannot be started again.
    pub disk: Option<&'a str>,
    /// A process in whose network namespace it runs.
    pub network: Option<u32>,
}

/// A server; stopped, and its folder removed, when this is dropped.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    port: Port,
    disk: Option<String>,
    network: Option<u32>,
    /// The postmaster while it runs.
    server: Mutex<Option<Child>>,
    watcher: Child,
}

impl Cluster {
    /// The server that all tests of the program share. It does not sync.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::new(Setup::default()))
    }

    /// Makes and starts a server.
    #[track_caller]
    pub fn new(setup: Setup) -> Self {
        let cluster = Self::empty(setup);
        fs::create_dir(cluster.data()).unwrap();
        give_to_server(&cluster.data());
        cluster.write("settings", &cluster.settings(setup));
        cluster.start();
        cluster.sql("postgres", &format!("create role {ROLE} login password '{PASSWORD}'"));
        cluster
    }

    /// A folder that a watcher removes, and a port.
    fn empty(setup: Setup) -> Self {
        let folder = tempfile::Builder::new().prefix("mailstamp-postgres-").tempdir().unwrap().keep();
        chmod(&folder, 0o755);
        give_to_server(&folder);
        // A stopped process acts on no signal but SIGKILL until it goes on.
        let script = "cat > /dev/null\n\
                      if pid=$(head -n 1 \"$0/pid\") && [ -e /proc/$pid/exe ]; then\n\
                      children=$(cat /proc/$pid/task/*/children)\n\
                      kill -QUIT $pid; kill -CONT $pid $children\n\
                      n=0; while [ -e /proc/$pid/exe ] && [ $n -lt 200 ]; do sleep 0.05; n=$((n+1)); done\n\
                      [ ! -e /proc/$pid/exe ] || kill -KILL $pid $children\nfi 2> /dev/null\n\
                      rm -rf \"$0\"";
        let mut command = server_command(Path::new("sh"));
        command.args(["-c", script]).arg(&folder).current_dir("/");
        // In a process group of its own, since a signal may go to that of the test program.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let watcher = command.spawn().unwrap();
        let (disk, network) = (setup.disk.map(str::to_owned), setup.network);
        let cluster = Self { folder, port: Port::reserve(), disk, network, server: Mutex::default(), watcher };
        fs::write(cluster.password_file(), format!("{PASSWORD}\n")).unwrap();
        chmod(&cluster.password_file(), 0o600);
        let rest = "host all all all scram-sha-256\n";
        cluster.write("hba", &format!("local all all trust\nlocal replication {SUPERUSER} trust\n{rest}"));
        cluster
    }

    /// Writes a file into its folder.
    fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        fs::write(&path, text).unwrap();
        give_to_server(&path);
    }

    /// Starts it; the first time with a new cluster. The postmaster is a child of the test program.
    #[track_caller]
    pub fn start(&self) {
        let mut server = self.server.lock().unwrap();
        assert!(server.is_none(), "it runs");
        let own = as_server_user().join(" ");
        let mount = self.disk.as_ref().map(|size| {
            format!("mount -t tmpfs -o size={size} tmpfs data; [ -z '{own}' ] || chown {SUPERUSER}: data\n")
        });
        let script = format!(
            "set -e; {}if [ ! -e data/PG_VERSION ]; then\n\
             {own} \"$0/initdb\" --pgdata=data --no-sync --no-instructions --encoding=UTF8 --locale=C --auth=trust \
             --username={SUPERUSER} --wal-segsize=1\nfi\n\
             {own} sh -c 'cat settings >> data/postgresql.conf; : > settings; cat hba > data/pg_hba.conf'\n\
             {own} chmod 700 data\n\
             exec {own} \"$0/postgres\" -D \"$PWD/data\"",
            mount.unwrap_or_default()
        );
        // Each of these becomes the next, so the postmaster keeps the number of the child.
        let network = self.network.map(|process| format!("nsenter --target {process} --net --"));
        let mount = self.disk.as_ref().map(|_| "unshare --mount".to_owned());
        let words = [network.unwrap_or_default(), mount.unwrap_or_default(), "sh".to_owned()].join(" ");
        let mut words = words.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        let log = || File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        command.args(["-c", &script]).arg(binaries()).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(log()).stderr(log());
        let child = server.insert(command.spawn().unwrap());
        // pg_ctl(1) waits for the same: the status in the last line of the file.
        let file = format!("/proc/{}/root{}/postmaster.pid", child.id(), self.data().display());
        let status = || {
            assert_eq!(child.try_wait().unwrap(), None, "{}", self.log());
            let text = fs::read_to_string(&file).unwrap_or_default();
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            let is_own = lines.first() == Some(&child.id().to_string().as_str());
            (is_own && matches!(lines.get(7), Some(&("ready" | "standby")))).then_some(())
        };
        eventually_or("the server starts", status, || self.log());
    }

    fn settings(&self, setup: Setup) -> String {
        let fsync = if setup.durable { "on" } else { "off" };
        let (folder, port) = (self.folder.display(), self.port());
        let mut text = format!(
            "\nfsync = {fsync}\nport = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{folder}'\n\
             external_pid_file = '{folder}/pid'\nmax_connections = 200\nshared_buffers = 32MB\nmax_wal_senders = 4\n\
             lc_messages = 'C'\nautovacuum = off\n"
        );
        for setting in setup.settings {
            text += &format!("{setting}\n");
        }
        text
    }

    /// A standby that streams from this server; `synchronous_standby_names` knows it as `standby`.
    #[track_caller]
    pub fn standby(&self, setup: Setup) -> Self {
        let standby = Self::empty(setup);
        let mut copy = server_command(&binaries().join("pg_basebackup"));
        copy.arg("--pgdata").arg(standby.data()).args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]);
        let primary = format!("host={} port={} user={SUPERUSER} application_name=standby", self.host(), self.port());
        run(copy.arg("--dbname").arg(&primary).current_dir("/"), b"").exits(0);
        standby.write("settings", &standby.settings(setup));
        standby.start();
        let streams = || self.sql("postgres", "select count(*) from pg_stat_replication where state = 'streaming'");
        eventually_or("the standby streams", || (streams() == "1").then_some(()), || standby.log());
        standby
    }

    /// A base backup of this server in a folder of its own, not started: [`start`](Self::start) does that.
    #[track_caller]
    pub fn backup(&self, setup: Setup) -> Self {
        let copied = Self::empty(setup);
        let mut copy = server_command(&binaries().join("pg_basebackup"));
        copy.arg("--pgdata").arg(copied.data()).args(["--checkpoint=fast", "--no-sync"]);
        copy.args(["--host", &self.host(), "--port", &self.port().to_string(), "--username", SUPERUSER]);
        run(copy.current_dir("/"), b"").exits(0);
        copied.write("settings", &copied.settings(setup));
        copied
    }

    /// The folder of its socket.
    pub fn host(&self) -> String {
        self.folder.display().to_string()
    }

    /// A file with the password of [`ROLE`].
    pub fn password_file(&self) -> PathBuf {
        self.folder.join("password")
    }

    /// Its port, of the socket and of the loopback interface.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The last lines that it logged.
    pub fn log(&self) -> String {
        tail(&self.folder.join("log"))
    }

    /// Makes an empty database that [`ROLE`] owns, and returns its name.
    #[track_caller]
    pub fn database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("create database {name} owner {ROLE}"));
        name
    }

    /// Runs statements as the superuser, and returns their rows, columns separated by `|`.
    #[track_caller]
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let ran = self.try_sql(database, statements);
        assert_eq!(ran.code, 0, "{statements}: {}\n{}", ran.stderr, self.log());
        ran.text().trim_end().to_owned()
    }

    /// The same; it may fail.
    pub fn try_sql(&self, database: &str, statements: &str) -> Run {
        run(self.psql(database).args(["-f", "-"]), statements.as_bytes())
    }

    /// psql(1) as the superuser.
    pub fn psql(&self, database: &str) -> Command {
        let mut command = Command::new(binaries().join("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", SUPERUSER, "-d", database]);
        command.args(["-h", &self.host(), "-p", &self.port().to_string()]).current_dir("/");
        command
    }

    /// Sets `name = value`, a line of `postgresql.conf`, in the running server.
    #[track_caller]
    pub fn set(&self, name: &str, value: &str) {
        self.sql("postgres", &format!("alter system set {name} = {value}"));
        self.sql("postgres", "select pg_reload_conf()");
        // A new session has the setting only after the postmaster has read it.
        let value = value.trim_matches('\'');
        let shown = || self.sql("postgres", &format!("show {name}")) == value;
        eventually_or("the setting counts", || shown().then_some(()), || self.log());
    }

    /// Gives it a certificate for these names, and switches TLS on.
    #[track_caller]
    pub fn certify(&self, authority: &Authority, names: &[&str]) {
        let (certificate, key) = authority.issue(names);
        for (file, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = self.data().join(file);
            fs::write(&path, text).unwrap();
            chmod(&path, 0o600);
            give_to_server(&path);
        }
        self.set("ssl", "'on'");
    }

    /// The process ids of sessions with a database.
    pub fn backends(&self, database: &str) -> Vec<Pid> {
        let ids = self.sql(
            "postgres",
            &format!(
                "select pid from pg_stat_activity where datname = '{database}' and backend_type = 'client backend'"
            ),
        );
        ids.lines().map(|id| Pid::from_raw(id.parse().unwrap()).unwrap()).collect()
    }

    /// The postmaster.
    #[track_caller]
    pub fn pid(&self) -> Pid {
        Pid::from_child(self.server.lock().unwrap().as_ref().expect("it runs"))
    }

    /// A file on its own disk.
    pub fn on_disk(&self, name: &str) -> PathBuf {
        format!("/proc/{}/root{}/{name}", self.pid().as_raw_nonzero(), self.data().display()).into()
    }

    /// The postmaster, stopped, and its children. It neither starts another nor waits for one that has ended, so the
    /// numbers stay theirs.
    fn processes(&self) -> Vec<Pid> {
        let postmaster = self.pid();
        super::programs::stop(postmaster);
        let mut found = vec![postmaster];
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
                continue;
            };
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // proc(5): the state and the parent follow the name in brackets.
            let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
            if parent == Some(postmaster.as_raw_nonzero().get()) {
                found.push(id);
            }
        }
        found
    }

    /// Kills the postmaster with SIGKILL, and waits until all of its processes are gone.
    pub fn kill(&self) {
        let processes = self.processes();
        self.end(Signal::KILL);
        let exists = |pid: &Pid| {
            let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
            !stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with(['Z', 'X']))
        };
        let gone = || (!processes.iter().any(exists)).then_some(());
        eventually_or("the server is gone", gone, || self.log());
    }

    /// Ends it and its sessions in good order.
    pub fn shut_down(&self) {
        self.end(Signal::INT);
    }

    fn end(&self, signal: Signal) {
        let mut child = self.server.lock().unwrap().take().expect("it runs");
        kill_process(Pid::from_child(&child), signal).unwrap();
        child.wait().unwrap();
    }

    /// Makes a primary of a standby.
    #[track_caller]
    pub fn promote(&self) {
        assert_eq!(self.sql("postgres", &format!("select pg_promote(true, {})", PATIENCE.as_secs())), "t");
    }

    /// Stops all of its processes.
    pub fn freeze(&self) {
        for process in self.processes() {
            super::programs::stop(process);
        }
    }

    /// Lets them go on.
    pub fn thaw(&self) {
        for process in self.processes() {
            let _ = kill_process(process, Signal::CONT);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        if let Some(mut server) = self.server.lock().unwrap().take() {
            let _ = server.wait();
        }
        let _ = self.watcher.wait();
    }
}

/// Reads a file of the store's options, of any owner and mode.
pub fn read_file(path: &Path, _: bool) -> Result<Zeroizing<String>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {}", path.display(), error.kind()))?;
    Ok(Zeroizing::new(text))
}

/// A certificate authority of the test.
pub struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let authority = Self { folder: tempfile::tempdir().unwrap() };
        let subject = ["-subj", "/CN=authority of a test", "-days", "3650"];
        let uses = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"];
        let out = ["-keyout", "ca.key", "-out", "ca.crt"];
        authority.openssl(&[&["req", "-x509", "-nodes"][..], &KEY, &subject, &uses, &out].concat());
        authority
    }

    /// Its certificate.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// A certificate for these names or addresses, and its key, in PEM.
    pub fn issue(&self, names: &[&str]) -> (String, String) {
        let kind = |name: &str| if name.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" };
        let names: Vec<String> = names.iter().map(|name| format!("{}:{name}", kind(name))).collect();
        fs::write(self.folder.path().join("ext"), format!("subjectAltName={}\n", names.join(","))).unwrap();
        let request = ["-subj", "/CN=server of a test", "-keyout", "server.key", "-out", "server.csr"];
        self.openssl(&[&["req", "-nodes"][..], &KEY, &request].concat());
        let sign = ["x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"];
        self.openssl(&[&sign[..], &["-days", "3650", "-extfile", "ext", "-out", "server.crt"]].concat());
        let read = |file| fs::read_to_string(self.folder.path().join(file)).unwrap();
        (read("server.crt"), read("server.key"))
    }

    fn openssl(&self, arguments: &[&str]) {
        run(Command::new("openssl").args(arguments).current_dir(self.folder.path()), b"").exits(0);
    }
}

const KEY: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// The folder of the server's programs; of several versions the newest.
#[track_caller]
pub fn binaries() -> PathBuf {
    let version = |entry: &fs::DirEntry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
    let folders = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = folders.filter(|entry| entry.path().join("bin/postgres").exists()).max_by_key(version);
    newest.expect("PostgreSQL is not installed: apt-get install postgresql (see tests/packages)").path().join("bin")
}

/// A program as the user of the server.
fn server_command(program: &Path) -> Command {
    let words = as_server_user();
    let mut command = Command::new(words.first().map_or(program, Path::new));
    if !words.is_empty() {
        command.args(&words[1..]).arg(program);
    }
    command
}

/// The words that drop root's rights; none for another user.
fn as_server_user() -> &'static [&'static str] {
    if geteuid().is_root() { &["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] } else { &[] }
}

fn give_to_server(path: &Path) {
    if geteuid().is_root() {
        let owner = fs::read_to_string("/etc/passwd").unwrap();
        let line = owner.lines().find_map(|line| line.strip_prefix("postgres:x:")).expect("the user postgres");
        let numbers: Vec<u32> = line.split(':').take(2).map(|number| number.parse().unwrap()).collect();
        give(path, numbers[0], numbers[1]);
    }
}
