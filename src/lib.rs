//! mailstamp: a mail filter that verifies digital stamps.
//!
//! This text is the map of the house. What the program does for its users is in the manual (`man/`); what a stamp is,
//! byte for byte, in mailstamp-stamp(5).
//!
//! # From above
//!
//! One message comes in on standard input; a word, a header field or an exit status goes out, or the message itself into
//! a folder. In between, the stamps on it are found, checked against the keys of the vendors whom the user trusts, and at
//! most one of them is spent in a log on the disk. Everything else (who the user is, which keys he trusts, what time it
//! is) is a fact that is gathered before, and handed in.
//!
//! So there are two halves. The lower one decides and knows nothing of the world: no file, no clock, no environment. The
//! upper one knows the world and decides nothing.
//!
//! # Rooms and floors
//!
//! A room is a folder of `src/`. Arrows go only downward; `tests/core/layering.rs` reads every file and holds the order.
//!
//! ```text
//! cli                    front ends: arguments into calls, answers into text and statuses
//! serve                  what runs for long: waits, and does what a command would have done
//! filter                 the engine: gathers facts, asks the core, spends once
//! sender                 accounts, buying, the purse of stamps not yet used; and sending, each copy with its own
//! vendor                 a vendor's books on the disk: accounts, stamps sold and taken back
//! keys                   the documents of the vendors, and a vendor's own key
//! config   store          the user's settings; what must be remembered between messages
//! log      outgoing       what is told about verdicts; the mail that leaves
//! maildir                folders into which mail is put, whole or not at all
//! fetch                  what goes over the network: HTTPS and DNS, for directories and for buying; never for mail that comes in
//! disk                   folders that are made so that they last
//! socket                 frames between processes of one user: what they are, not what they say
//! ──────────────────────────────────────────────────────────────────────────────────────────────────
//! reply                  may an automatic reply go to the sender, and what does it say
//! rule                   what the user wants done: his rules, and the action that follows
//! verdict                the judgement: from message and facts to class and reason
//! bank                   counting: prices, orders, what an event moves, the chain of entries
//! grant    stamp         what a permission is; what a stamp is: form, signature, claims, places
//! mail                   what a message is: fields, addresses, MIME, fingerprint, edits
//! ```
//!
//! Below the line nothing reads a file, a clock or the environment, writes anywhere, or starts a thread. Clippy denies the
//! calls there (`clippy.toml`), and the same test looks for the names.
//!
//! # How a message goes through
//!
//! 1. [`cli`] parses the arguments. `filter::open` reads the clock and the configuration; there is an
//!    [`Engine`](filter::engine::Engine).
//! 2. The message is read, whole or up to a limit, and [`Message::parse`](mail::message::Message::parse) lays a view over
//!    its bytes. Nothing is copied.
//! 3. [`locate`](stamp::locate::locate) finds the stamps, whatever folding and encoding the way has done to them.
//! 4. [`examine`](verdict::examine::examine) judges each as far as that goes without the log. It answers `Done` with a
//!    verdict, or `Spend` with a claim: a question to the log. The vendors' documents are read when the first stamp names
//!    a key, and not for a message without one.
//! 5. The engine opens the log and asks. [`UsedLog::spend`](store::UsedLog::spend) answers in one durable transaction:
//!    fresh, again, double, ended, granted, revoked.
//! 6. [`Claim::settle`](verdict::examine::Claim::settle) consumes claim and answer, and is done, or has the next question.
//! 7. If no stamp let the message through, the user's [`Rules`](rule::rules::Rules) are asked, the cheapest condition of
//!    each first; what they ask of the world, lists in files and what the user sent, the engine answers
//!    (`filter/ruling.rs`) and opens only then. What comes of it is the [`Decision`](rule::decision::Decision).
//! 8. The decision is told: to the caller, to syslog, to the verdict log. `filter` writes it on top of the message;
//!    `deliver` ([`Engine::deliver`](filter::engine::Engine::deliver)) obeys it: it took room in the Maildir before step 3,
//!    and now writes, syncs and links the message into a folder, holds it, or drops it after a line that is on the disk.
//! 9. Where the user wants replies, [`may`](reply::may::may) says whether one may go. It is reserved in the log of replies,
//!    durably, then handed to sendmail(8) ([`Engine::answer`](filter::engine::Engine::answer)). Nothing above depends on it.
//!
//! # The process that stays
//!
//! `mailstamp serve` (`serve/daemon`) keeps all of that ready: configuration, rules and keys as they were read
//! ([`Warm`](filter::warm::Warm), which looks before each judgement whether a file has changed), and the log, open
//! ([`Resident`](store::resident::Resident)). `classify` and `filter` look for its socket before they read anything, `deliver`
//! when it is about to judge, and hand it the message ([`Elsewhere`](filter::resident::Elsewhere)); without it, or when it
//! dies, they go the way above.
//! Threads ask the store at once, and one of them writes for all (`store/turn.rs`) into a journal (`store/journal.rs`), with
//! one sync; a thread brings the rows into the tables later. Whoever else needs the file is lent it through the socket
//! beside it (`store/question.rs`, `store/attend.rs`). What it counts (`serve/daemon/numbers.rs`) it tells to people
//! ([`status`](filter::status)) and, where the configuration says so, to Prometheus.
//!
//! Without it, many processes that come at once combine: one that had to wait for the lock answers those behind it in one
//! commit (`store/company.rs`), by the same frames on the same socket.
//!
//! # What always holds
//!
//! - Only `examine` makes a claim and only `settle` consumes it, so nothing is spent that was not judged, and nothing is
//!   accepted that was not spent.
//! - A bad message is a value, never an `Err`. An `Err` is our own trouble; on the mail path it becomes status 75, and so
//!   does a panic.
//! - The log's rule is one function (`store/rule.rs`; `store/sent.rs` and `store/reply.rs` for the other books). Stores
//!   differ in where the rows are, never in the answer.
//! - To whom the user wrote is learned only from what is known to be his (what he sends, a pipe or a folder that he names),
//!   never from mail that comes in, whatever its From says.
//! - A signature is verified over the bytes that came, and nothing in a payload is read before it holds.
//! - A change to a message is a list of spans to take out and texts to put in ([`mail::edit`]). All other bytes go
//!   through as they came.
//! - Whatever comes from outside and goes into a field or a log passes
//!   [`printable`](mail::field::printable); whatever we put into a header passes [`fold`](mail::field::fold).
//!   (Identifiers of messages in a reply do not, because cut ones are others: they are checked instead.)
//! - Everything that grows with the input has a limit, and beyond it a message is `over-limit`, not unstamped.
//!
//! # A vendor's books
//!
//! Beside all that, and behind the feature `vendor`, stands the other side: [`bank`] says what a price is, what an order may
//! ask for, and which sums an event moves; `vendor` keeps the events on the disk. Callers use one type,
//! `vendor::books::Books`. It hands what changes something to one thread, which does all that waits in one transaction
//! (group commit), and answers when that is durable. A process that finds the books taken asks the one that has them, by the
//! same requests over a socket.
//!
//! `serve/vendor` sells from the books over HTTP, to programs and on a page. It has many sockets, so it alone is async: a
//! request waits there without a thread until it asks the books, which block. It decides nothing; prices, caps and what is
//! charged once are the books'. Of its own it keeps who is signed in and who asks too often, in memory.
//!
//! - An event is the only thing that moves anything, and balances follow from the events alone.
//! - A request is checked whole before it writes; what is refused leaves nothing.
//! - Secrets (API keys, codes, vouchers) are kept as hashes, signing keys in files of their own, and of a stamp neither
//!   sender nor recipient.
//!
//! # A sender's purse
//!
//! Behind the feature `sender` stands who writes the letters: `sender::supply::Sender` gets a stamp for each recipient. What a
//! stamp is for has a key, the same for the same message and recipient; the purse keeps under it a stamp, or the purchase
//! that will bring one, in the transaction in which the caps are asked. The vendor is asked after that and outside of it,
//! under an idempotency key that is on the disk already. So a run that was killed is the same run when it comes again.
//!
//! # How a message leaves
//!
//! `mailstamp sendmail` ([`sender::post`]) goes the other way. The message is made ready ([`sender::post::submission`]) and
//! written into the journal, durably; for each recipient it is decided whether he needs a stamp and whether one of his may
//! come back to him ([`sender::post::choice`]); all others are asked of the supply in one call, under keys that are the same
//! on every run; each copy is an edit of the one message ([`sender::post::copies`]); it is handed over, and that is noted,
//! durably. So whoever is killed and run again buys and sends nothing twice. The stamps that may come back were kept when
//! mail came in (`filter/returns.rs`).
//!
//! # What is not here, on purpose
//!
//! - No network on the mail path. Keys come from files: what the user put there, and what `mailstamp directory refresh`
//!   fetched before from the sources that he listed. A stamp can make nobody fetch anything.
//! - No mail is sent for a message that came in unless the user switched it on, and then only by one function,
//!   [`filter::answer`], to an address that [`reply::may`] let pass. (A vendor mails codes to who asks for one.)
//! - No async but where HTTP is served (`serve/doors.rs`, `serve/vendor`, `serve/daemon/scrape.rs`), on many sockets, and in
//!   `fetch/dns.rs`, whose resolver is written so. On the mail path a command has no thread but the one that waits for a lock,
//!   and the process that stays has one for each connection.
//! - No parser of whole messages: MIME libraries are asked about single fields only, since their trees cost time that a
//!   stranger can choose, and do not give the bytes back.
//! - No cache of verdicts, no score, no learning.
//! - No `unsafe`.
//!
//! # Where to add things
//!
//! *A reason*: a line in `verdict/reason.rs`, its check in `verdict/finding.rs`, a fixture, a line in mailstamp(1);
//! tests fail until all four are there. *A reason to send no reply*: a line in `reply/why.rs`, its check in the room, a
//! fixture in `fixtures/replies/`, a line in mailstamp(1). *A command*: a file in `cli/`, a variant of its `Command`, a
//! section in mailstamp(1). *An action*: `rule/action.rs`, `filter/deliver.rs`, mailstamp(1), and the recipes by
//! action. *A store*: a file in `store/` that implements [`Store`](store::Store) by asking `store/rule.rs`, an entry in
//! the contract tests (`tests/store/`), and a line in `filter/open.rs`, the one place that knows which adapters there
//! are. *A source of keys*: a variant of [`Origin`](config::sources::Origin), how it is fetched in `fetch/` and
//! `keys/refresh.rs`; what of it is believed is decided in one place, `keys/acceptance.rs`. *A claim*:
//! `stamp/claims.rs`, and mailstamp-stamp(5). *A condition of rules*: a variant in `rule/condition.rs`, its key in
//! `config/rules.rs`, a line in the table of `tests/cli/rules/conditions.rs`, mailstamp-rules(5). *A thing that a vendor can
//! do*: a `Request`, what it moves as an `Event` in `bank/event.rs`, its doing in `vendor/desk/`, a method of `Books`, a
//! command in `cli/vendor/`. *A way to pay*: an implementation of `vendor::payment::Payment`. *What a sender can do*:
//! `sender/`, a command in `cli/`, mailstamp-sender(1). *A setting*: `config/mod.rs`, `config show`, mailstamp.toml(5).
//! *A parser of bytes from outside*: a file in `fuzz/fuzz_targets/`, a line in `fuzz/Cargo.toml`, seeds in
//! `fuzz/corpus/`.

pub mod bank;
pub mod cli;
pub mod config;
pub mod disk;
#[cfg(feature = "directory")]
pub mod fetch;
pub mod filter;
pub mod grant;
pub mod keys;
pub mod log;
pub mod mail;
pub mod maildir;
pub mod outgoing;
pub mod reply;
pub mod rule;
#[cfg(feature = "sender")]
pub mod sender;
pub mod serve;
pub mod socket;
pub mod stamp;
pub mod store;
#[cfg(feature = "vendor")]
pub mod vendor;
pub mod verdict;

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;
