//! Rubbish on the configuration socket.

use kerntun_interop::attack::Garbler;
use kerntun_interop::end::End;
use kerntun_interop::keys::{Keys, hex};
use kerntun_interop::namespace::Namespace;
use kerntun_interop::program::Program::Kerntun;
use kerntun_interop::requirements::met;
use kerntun_interop::uapi::{Connection, errno, lasting};
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::Arc;

const SEED: u64 = 0x7265_7175_6573_7473;
const REQUESTS: u32 = 110_000;
const WARM: u32 = 10_000;

/// After so many requests all is configured as in the beginning, and has to look so.
const RESET: u32 = 1_000;

/// Of so many failures, one is looked at closely.
const SAMPLE: u32 = 8;

/// Memory may grow by this much behind the first tenth, in KiB.
const GROWTH: u64 = 4096;

/// A port that somebody else has.
const TAKEN: u16 = 40_102;

const GET: &[u8] = b"get=1\n\n";

/// A configuration with everything in it.
fn whole(keys: &Keys) -> String {
    let peer = |number: u64| Keys::number(number).public_hex();
    format!(
        "set=1\nprivate_key={}\nlisten_port=40100\nfwmark=66\nreplace_peers=true\n\
         public_key={}\npreshared_key={}\nendpoint=127.0.0.1:9\npersistent_keepalive_interval=3600\n\
         replace_allowed_ips=true\nallowed_ip=10.1.0.0/16\nallowed_ip=fd01::/64\nprotocol_version=1\n\
         public_key={}\nendpoint=[::1]:9\nallowed_ip=10.2.0.0/16\nallowed_ip=10.2.3.4/32\n\
         public_key={}\nreplace_allowed_ips=true\nallowed_ip=0.0.0.0/0\nallowed_ip=::/0\n\n",
        keys.private_hex(),
        peer(1),
        hex(&[0x33; 32]),
        peer(2),
        peer(3)
    )
}

/// Requests that are right, or nearly so, each for something else.
fn right(keys: &Keys) -> Vec<String> {
    let peer = |number: u64| Keys::number(number).public_hex();
    vec![
        whole(keys),
        "get=1\n\n".to_owned(),
        "set=1\nlisten_port=40101\nfwmark=0\n\n".to_owned(),
        format!("set=1\npublic_key={}\nupdate_only=true\nallowed_ip=-10.1.0.0/16\nallowed_ip=10.4.0.0/14\n\n", peer(1)),
        format!("set=1\npublic_key={}\nremove=true\npublic_key={}\nremove=true\n\n", peer(2), peer(4)),
        format!("set=1\npublic_key={}\nreplace_allowed_ips=true\nallowed_ip=10.5.0.0/16\n\n", peer(4)),
        format!("set=1\nprivate_key={}\n\n", Keys::number(5).private_hex()),
        format!("set=1\npublic_key={}\npreshared_key={}\nendpoint=127.0.0.1:10\n\n", peer(3), hex(&[0; 32])),
        // Well said, but not to be done: the port belongs to somebody else, the key is no key, there is no such version.
        format!("set=1\nfwmark=7\nlisten_port={TAKEN}\npublic_key={}\nallowed_ip=10.6.0.0/16\n\n", peer(6)),
        format!("set=1\nfwmark=8\npublic_key={}\nallowed_ip=10.7.0.0/16\n\n", hex(&[0; 32])),
        format!("set=1\nlisten_port=40103\npublic_key={}\nremove=true\nprotocol_version=2\n\n", peer(1)),
    ]
}

/// The connection in use, made anew whenever the daemon has hung up.
struct Client<'e> {
    end: &'e End,
    connection: Connection,
}

impl<'e> Client<'e> {
    fn new(end: &'e End) -> Self {
        Self { end, connection: Connection::open(&end.socket()).expect("the daemon listens") }
    }

    fn get(&mut self) -> String {
        let answer = self.ask(GET).expect("an answer");
        assert_eq!(errno(&answer), Some(0), "{answer}");
        lasting(&answer)
    }

    fn set(&mut self, request: &str) {
        let answer = self.ask(request.as_bytes()).expect("an answer");
        assert_eq!(errno(&answer), Some(0), "{answer} to {request}");
    }

    /// One request, one answer; none if the daemon hangs up.
    fn ask(&mut self, request: &[u8]) -> Option<String> {
        for _ in 0..2 {
            match self.connection.ask(request) {
                Ok(answer) if !answer.is_empty() => return Some(answer),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
                Err(error) => panic!("no answer to {:?}: {error}", String::from_utf8_lossy(request)),
            }
            self.connection = Connection::open(&self.end.socket()).expect("the daemon listens");
        }
        None
    }

    /// Several requests in one.
    fn ask_several(&self, requests: &[u8]) {
        let connection = Connection::open(&self.end.socket()).expect("the daemon listens");
        match connection.ask_last(requests) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => panic!("no answer to {requests:?}"),
            _ => {}
        }
    }
}

/// The sections of an answer: peers that were removed and added again may come in another order.
fn sorted(answer: &str) -> Vec<String> {
    let answer = answer.strip_suffix("errno=0").unwrap_or(answer);
    let mut sections: Vec<String> = answer.split("public_key=").map(|section| section.trim_end().to_owned()).collect();
    sections[1..].sort();
    sections
}

#[test]
fn rubbish_on_the_configuration_socket() {
    if !met("rubbish on the configuration socket", &[]) {
        return;
    }
    let namespace = Arc::new(Namespace::new("alone"));
    let mut end = End::start(&namespace, Kerntun);
    end.bring_up(&["10.78.0.1/24".to_owned()], 1420);
    let _taken = namespace.enter(|| UdpSocket::bind(("0.0.0.0", TAKEN))).unwrap();
    let whole = whole(&end.keys);
    let mut garbler = Garbler::new(SEED, right(&end.keys));
    let mut client = Client::new(&end);
    client.set(&whole);
    let configured = sorted(&client.get());
    assert_eq!(configured.concat().matches("allowed_ip=").count(), 6, "{configured:?}");
    let [mut failures, mut successes, mut silences, mut looked_at, mut several] = [0_u32; 5];
    let mut warm = 0;
    for number in 1..=REQUESTS {
        let request = garbler.garble();
        let single = request.windows(2).filter(|pair| pair == b"\n\n").count() == 1 && request[0] != b'\n';
        if !single {
            several += 1;
            client.ask_several(&request);
        } else {
            let look = failures % SAMPLE == 0;
            let before = if look { client.get() } else { String::new() };
            let answer = client.ask(&request);
            match answer.as_deref().map(|answer| errno(answer).expect("an errno ends every answer")) {
                Some(0) => successes += 1,
                Some(_) => failures += 1,
                None => silences += 1,
            }
            if look && answer.is_none_or(|answer| errno(&answer) != Some(0)) {
                looked_at += 1;
                let request = String::from_utf8_lossy(&request);
                assert_eq!(client.get(), before, "a request that failed has changed something:\n{request}");
            }
        }
        if number % RESET == 0 {
            client.set(&whole);
            assert_eq!(sorted(&client.get()), configured);
        }
        if number == WARM {
            warm = end.resident();
        }
    }
    let after = end.resident();
    eprintln!(
        "{successes} succeeded, {failures} failed ({looked_at} looked at), {silences} met silence, {several} were several; \
         {warm} KiB, {after} KiB"
    );
    assert!(failures > REQUESTS / 4 && successes > REQUESTS / 100 && looked_at > 1000);
    assert!(after < warm + GROWTH, "memory grew from {warm} KiB to {after} KiB");
    drop(client);
    assert!(end.is_running());
}
