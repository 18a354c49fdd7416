//! The submission server of the daemon under real mail programs, with a real Postfix behind it. Postfix needs root.

use crate::support::postfix::Postfix;
use crate::support::programs::{chmod, eventually_or, give, program, recipe};
use crate::support::shop::{Shop, VENDOR};
use crate::support::smtp_server::{Mode, SmtpServer};
use crate::support::submission::{Certificates, LOGIN, PASSWORD, Submission, USER, configure};
use crate::support::{Home, is_soak, run};
use mailstamp::net::http_client::Secret;
use mailstamp::sender::account::{Account, Accounts};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const JOE: &str = "joe@x.example";

/// Python's smtplib: AUTH PLAIN and LOGIN, two recipients, and an address beyond ASCII.
const SMTPLIB: &str = r#"
import smtplib, sys
from email.message import EmailMessage
port, user, password = int(sys.argv[1]), sys.argv[2], sys.argv[3]
for method in "auth_plain", "auth_login":
    with smtplib.SMTP("127.0.0.1", port) as server:
        server.ehlo()
        server.user, server.password = user, password
        server.auth(method[5:].upper(), getattr(server, method))
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = "joe@x.example", "alice@x.example", method
        message["Message-ID"] = f"<{method}@x.example>"
        message.set_content("größe\n.dot\n", cte="8bit")
        assert server.send_message(message, to_addrs=["alice@x.example", "bob@x.example"]) == {}
with smtplib.SMTP("127.0.0.1", port) as server:
    server.ehlo()
    server.login(user, password)
    utf8 = "From: zoë@x.example\r\nTo: zoë@x.example\r\nSubject: utf8\r\nMessage-ID: <u@x>\r\n\r\nhi\r\n".encode()
    assert server.sendmail("zoë@x.example", ["zoë@x.example"], utf8, mail_options=["SMTPUTF8", "BODY=8BITMIME"]) == {}
"#;

/// Sends a message to bob@y.example by Thunderbird.
fn thunderbird(folder: &Path, authority: &str, port: &str, tls: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/thunderbird.py");
    let mut command = Command::new(program("python3", "python3"));
    command.arg(script).arg(program("thunderbird", "thunderbird")).arg(folder);
    let sent = run(command.args([authority, port, tls, USER, PASSWORD, JOE, "bob@y.example"]), b"");
    assert_eq!(sent.text(), "sent 0\n", "{}", sent.stderr);
}

/// The server, Postfix behind it with a Maildir for each name, and the folder of those.
fn site(names: &[&str]) -> (Home, tempfile::TempDir, Postfix) {
    let (home, boxes, postfix) = site_with(names, "", "");
    let smtp = format!("[sendmail.smtp]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"off\"", postfix.port());
    let text = format!("addresses = [{JOE:?}]\n[sendmail]\nnone = [\"*@x.example\"]\n{smtp}");
    configure(&home, &text, "max_message_size = 1000000");
    (home, boxes, postfix)
}

/// The same with more lines for main.cf and master.cf, and no configuration of the server.
fn site_with(names: &[&str], more: &str, services: &str) -> (Home, tempfile::TempDir, Postfix) {
    let (home, boxes) = (Home::bare(), tempfile::tempdir().unwrap());
    let number = |option| run(Command::new("id").args([option, "postfix"]), b"").exits(0).text().trim().parse();
    let (user, group) = (number("-u").unwrap(), number("-g").unwrap());
    give(boxes.path(), user, group);
    chmod(boxes.path(), 0o755);
    let maps: Vec<String> = names.iter().map(|name| format!("{{ {name}@x.example = {name}/ }}")).collect();
    let main = format!(
        "mydestination =\nvirtual_mailbox_domains = x.example\nvirtual_mailbox_base = {}\n\
         virtual_mailbox_maps = inline:{{ {} }}\nvirtual_minimum_uid = 1\nvirtual_uid_maps = static:{user}\n\
         virtual_gid_maps = static:{group}\nsmtputf8_enable = yes\n{more}",
        boxes.path().display(),
        maps.join(", "),
    );
    let postfix = Postfix::start_with(&main, &format!("virtual unix - n n - - virtual\n{services}"));
    (home, boxes, postfix)
}

#[test]
fn mail_programs_send_through_the_daemon() {
    let (home, boxes, postfix) = site(&["alice", "bob", "zoë"]);
    let daemon = Submission::start(&home);
    let port = daemon.address.port().to_string();
    let python = program("python3", "python3");
    run(Command::new(python).args(["-", &port, USER, PASSWORD]), SMTPLIB.as_bytes()).exits(0);

    let msmtp = || {
        let mut command = Command::new(program("msmtp", "msmtp"));
        command.args(["--file=/dev/null", "--host=127.0.0.1", "--auth=plain", "--tls=off", "--from=joe@x.example"]);
        command.arg(format!("--port={port}")).arg(format!("--user={USER}"));
        command.arg(format!("--passwordeval=cat {}", home.file("submission-password").display()));
        command
    };
    let text = format!("From: {JOE}\nTo: alice@x.example\nSubject: msmtp\nMessage-ID: <m@x.example>\n\n.x\n");
    run(msmtp().arg("alice@x.example"), text.as_bytes()).exits(0);
    // A second time it is the same message.
    run(msmtp().arg("alice@x.example"), text.as_bytes()).exits(0);
    run(msmtp().arg("no address"), text.as_bytes()).exits(65);

    let swaks = |more: &[&str]| {
        let mut command = Command::new(program("swaks", "swaks"));
        command.args(["--server", "127.0.0.1", "--port", &port, "--from", JOE, "--to", "bob@x.example"]);
        command.args(["--auth-user", USER, "--auth-password", PASSWORD]).args(more);
        run(&mut command, b"")
    };
    swaks(&["--auth", "PLAIN", "--pipeline", "--header", "Subject: swaks"]).exits(0);
    swaks(&["--auth", "LOGIN", "--header", "Subject: swaks"]).exits(0);
    // 28: the server refused the login; 26: the message.
    let wrong = swaks(&["--auth", "PLAIN", "--auth-password", "wrong"]);
    assert!(wrong.code == 28 && wrong.text().contains("535 5.7.8"), "{}", wrong.text());
    let large = home.file("large");
    fs::write(&large, "x".repeat(70).repeat(20_000)).unwrap();
    let large = swaks(&["--auth", "PLAIN", "--body", large.to_str().unwrap()]);
    assert!(large.code != 0 && large.text().contains("552 5.3.4"), "{}", large.text());

    for (name, subjects) in [
        ("alice", vec!["auth_login", "auth_plain", "msmtp"]),
        ("bob", vec!["auth_login", "auth_plain", "swaks", "swaks"]),
        ("zoë", vec!["utf8"]),
    ] {
        let folder = boxes.path().join(name).join("new");
        let found = || {
            let entries = fs::read_dir(&folder).ok()?;
            let texts = entries.map(|entry| String::from_utf8(fs::read(entry.unwrap().path()).unwrap()).unwrap());
            let mut found: Vec<String> = texts
                .map(|text| text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().to_owned())
                .collect();
            found.sort();
            (found.len() >= subjects.len()).then_some(found)
        };
        assert_eq!(eventually_or(name, found, || postfix.log()), subjects, "{name}");
    }
    daemon.end();
}

/// Python's smtplib, which checks the certificate and the name in it; in place of STARTTLS, TLS from the first byte on.
const SMTPLIB_TLS: &str = r#"
import smtplib, ssl, sys
port, user, password, authority, tls = int(sys.argv[1]), *sys.argv[2:]
context = ssl.create_default_context(cafile=authority)
with smtplib.SMTP("localhost", port) if tls == "starttls" else smtplib.SMTP_SSL("localhost", port, context=context) as server:
    if tls == "starttls":
        server.starttls(context=context)
    server.login(user, password)
    text = "From: joe@x.example\r\nTo: alice@x.example\r\nMessage-ID: <" + tls + "@x.example>\r\n\r\nhi\r\n.dot\r\n"
    assert server.sendmail("joe@x.example", ["alice@x.example", "bob@x.example"], text) == {}
"#;

#[test]
fn mail_programs_send_under_tls() {
    let home = Home::bare();
    let (certificates, server) = (Certificates::make(&home), SmtpServer::start(Mode::Take));
    let authority = certificates.file("ca.pem").display().to_string();
    let next = server.address().rsplit(':').next().unwrap().to_owned();
    let smtp = format!("[sendmail.smtp]\nhost = \"127.0.0.1\"\nport = {next}\ntls = \"off\"");
    let shop = Shop::open(10, &[]);
    let (secret, url) = (Secret::new(shop.key.clone()), format!("http://{}", shop.address));
    let account = Account::new("shop", &url, VENDOR, None, secret).unwrap();
    fs::create_dir_all(home.state()).unwrap();
    Accounts::new(&home.state()).put(&account, true).unwrap();
    let mut count = 0;
    for tls in ["starttls", "implicit"] {
        let text = format!("addresses = [{JOE:?}]\n[sendmail]\nnone = [\"*@x.example\"]\n{smtp}");
        configure(&home, &text, &certificates.keys(tls));
        let daemon = Submission::start(&home);
        let port = daemon.address.port().to_string();
        let python = program("python3", "python3");
        let arguments = ["-", &port, USER, PASSWORD, &authority, tls];
        run(Command::new(python).args(arguments), SMTPLIB_TLS.as_bytes()).exits(0);

        let msmtp = |authority: &str| {
            let mut command = Command::new(program("msmtp", "msmtp"));
            command.args(["--file=/dev/null", "--host=localhost", "--auth=plain", "--tls=on", "--from=joe@x.example"]);
            command.arg(format!("--tls-starttls={}", if tls == "starttls" { "on" } else { "off" }));
            command.arg(format!("--port={port}")).arg(format!("--user={USER}"));
            command.arg(format!("--passwordeval=cat {}", home.file("submission-password").display()));
            command.arg(format!("--tls-trust-file={authority}")).arg("alice@x.example");
            run(&mut command, format!("From: {JOE}\nSubject: msmtp\nMessage-ID: <m{tls}@x.example>\n\n.x\n").as_bytes())
        };
        msmtp(&authority).exits(0);
        // The program does not trust the certificate, and sends no password.
        let refused = msmtp("system");
        assert!(refused.code != 0 && refused.stderr.contains("certificate"), "{}", refused.stderr);

        let mut swaks = Command::new(program("swaks", "swaks"));
        swaks.args(["--server", "localhost", "--port", &port, "--from", JOE, "--to", "bob@x.example"]);
        swaks.args(["--auth", "LOGIN", "--auth-user", USER, "--auth-password", PASSWORD, "--pipeline"]);
        swaks.args(["--tls-verify", "--tls-ca-path", &authority]);
        swaks.args([if tls == "starttls" { "--tls" } else { "--tls-on-connect" }, "--header", "Subject: swaks"]);
        let said = run(&mut swaks, b"").exits(0).text();
        assert!(said.contains("TLS started with cipher TLSv1.3:"), "{said}");
        count += 4;
        assert_eq!(server.count(), count);

        // A large program: see tests/soak.
        if is_soak() {
            thunderbird(&home.file(&format!("thunderbird-{tls}")), &authority, &port, tls);
            count += 1;
            let (envelope, text) = server.last();
            assert!(server.count() == count && envelope.contains("RCPT TO:<bob@y.example>"), "{envelope}");
            assert!(text.contains("Digital-Stamp: ") && text.contains("User-Agent: Mozilla Thunderbird\n"), "{text}");
            assert!(text.contains("\nSubject: Thunderbird\n") && text.contains("\n\nhello\n..dot\n"), "{text}");
        }

        // openssl(1), by hand.
        let mut openssl = Command::new(program("openssl", "openssl"));
        openssl.args(["s_client", "-quiet", "-crlf", "-verify_return_error", "-verify_hostname", "localhost"]);
        openssl.args(["-connect", &format!("localhost:{port}"), "-CAfile", &authority]);
        if tls == "starttls" {
            openssl.args(["-starttls", "smtp"]);
        }
        let mut openssl = openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut replies = BufReader::new(openssl.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut input = openssl.stdin.take().unwrap();
        let login = format!("AUTH PLAIN {LOGIN}");
        // With STARTTLS, the program shows the last reply in the clear, and in both the greeting or EHLO's first.
        for (line, end) in [
            ("EHLO x", "250 AUTH PLAIN LOGIN"),
            (login.as_str(), "235 2.7.0 welcome"),
            ("NOOP", "250 2.0.0 ok"),
            ("QUIT", "221 2.0.0 bye"),
        ] {
            writeln!(input, "{line}").unwrap();
            assert!(replies.any(|reply| reply == end), "{tls}: {line}");
        }
        openssl.wait().unwrap();
        daemon.end();
    }
}

/// The client's side: copies go to a real Postfix under TLS, which has a limit on the size and knows its recipients.
#[test]
fn copies_reach_a_server_under_tls() {
    let own = Home::bare();
    let certificates = Certificates::make(&own);
    let (chain, key) = (certificates.file("chain.pem"), certificates.file("key.pem"));
    let main = format!(
        "smtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\nsmtpd_tls_security_level = encrypt\n\
         message_size_limit = 300000\n",
        chain.display(),
        key.display()
    );
    let services = "SUBMISSION inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\ntlsmgr unix - - n 1000? 1 tlsmgr\n";
    let (home, boxes, postfix) = site_with(&["alice", "zoë"], &main, services);
    let head =
        |subject: &str| format!("From: {JOE}\nDate: d\nSubject: {subject}\nMessage-ID: <{subject}@x.example>\n\n");
    // Longer than one write, with dots and letters beyond ASCII.
    let body = ".\n..größe\n.\r\n".repeat(12_000);
    for (tls, port) in [("starttls", postfix.port()), ("implicit", postfix.submission())] {
        let smtp =
            format!("host = \"localhost\"\nport = {port}\ntls = {tls:?}\nca_file = {:?}", certificates.file("ca.pem"));
        home.configure(&format!(
            "addresses = [{JOE:?}]\n[sendmail]\nnone = [\"*@x.example\"]\n[sendmail.smtp]\n{smtp}\n"
        ));
        let send = |subject: &str, body: &str| {
            let to = ["alice@x.example", "zoë@x.example", "gone@x.example"];
            home.run(["sendmail", "-i", to[0], to[1], to[2]], (head(subject) + body).as_bytes())
        };
        let said = send(tls, &body).exits(69);
        assert!(said.stderr.contains("gone@x.example: refused (69): localhost answers 550: 5.1.1 "), "{}", said.stderr);
        // The limit of the server is told at once, before the message is sent.
        let said = send(&format!("large-{tls}"), &"x".repeat(70).repeat(10_000)).exits(69);
        assert!(said.stderr.contains("localhost answers 552: 5.3.4 "), "{}", said.stderr);
    }
    let expected = body.replace("\r\n", "\n");
    for name in ["alice", "zoë"] {
        let folder = boxes.path().join(name).join("new");
        let found = || {
            let entries = fs::read_dir(&folder).ok()?;
            let texts = entries.map(|entry| String::from_utf8(fs::read(entry.unwrap().path()).unwrap()).unwrap());
            let found: Vec<String> = texts.collect();
            (found.len() == 2).then_some(found)
        };
        for text in eventually_or(name, found, || postfix.log()) {
            assert_eq!(text.split_once("\n\n").unwrap().1, expected, "{name}");
        }
    }
}

#[test]
fn the_recipe_is_a_configuration() {
    let home = Home::bare();
    let own = home.path().display().to_string();
    let text = recipe("submission.toml", &[("/home/you/.config/mailstamp", &own)]);
    home.configure(&text);
    for name in ["submission-password", "provider-password"] {
        fs::write(home.file(name), "x\n").unwrap();
        chmod(&home.file(name), 0o600);
    }
    home.run(["config", "check"], b"").exits(0);
}
