//! Servers of others that speak TLS, each with a certificate of its own.

use std::net::SocketAddr;
use std::process::Command;

use e2e::{Foreign, Output, PATIENCE, Scratch, tools};

/// A certificate of its own for each of these names, with its key beside it: `NAME.pem` and `NAME.key`.
pub(crate) struct Certificates(Scratch);

impl Certificates {
    #[track_caller]
    pub(crate) fn of(names: &[&str]) -> Certificates {
        let certificates = Certificates(Scratch::new());
        for name in names {
            let line = format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -keyout {name}.key -out {name}.pem \
                 -subj /CN={name} -addext subjectAltName=DNS:{name}"
            );
            let mut command = Command::new("openssl");
            command.args(line.split_whitespace()).current_dir(certificates.0.path());
            let done = tools::run(&mut command, PATIENCE);
            assert_eq!(done.code, Some(0), "openssl {line}: {done:?}");
        }
        certificates
    }

    fn path(&self, name: &str, kind: &str) -> String {
        self.0.path().join(format!("{name}.{kind}")).display().to_string()
    }

    /// The lines of nginx that make a server of `name` speak TLS.
    fn nginx(&self, name: &str) -> String {
        let (pem, key) = (self.path(name, "pem"), self.path(name, "key"));
        format!("server_name {name}; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {pem}; ssl_certificate_key {key};")
    }

    /// nginx for `name`, which says so to whatever it is asked, and keeps what is put under /files/.
    pub(crate) fn serve_nginx(&self, name: &str) -> Foreign {
        let tls = self.nginx(name);
        Foreign::nginx_of(&[], |port, root| {
            format!(
                "server {{ listen 127.0.0.1:{port} ssl http2; {tls} client_max_body_size 0;\n\
                 location / {{ return 200 'nginx of {name} over $server_protocol'; }}\n\
                 location /files/ {{ root {}; dav_methods PUT; create_full_put_path on; }} }}",
                root.display()
            )
        })
    }

    /// HAProxy for `name`, which says so to whatever it is asked.
    pub(crate) fn serve_haproxy(&self, name: &str) -> Foreign {
        self.serve_haproxy_with(name, "", &format!("string \"HAProxy of {name}\""))
    }

    /// HAProxy for `name` that binds with `options` and answers `says`.
    pub(crate) fn serve_haproxy_with(&self, name: &str, options: &str, says: &str) -> Foreign {
        let [pem, key] = ["pem", "key"].map(|kind| self.0.read(&format!("{name}.{kind}")));
        let both = pem + &key;
        Foreign::haproxy_of(&[("both.pem", both.as_bytes())], |port, root| {
            format!(
                "frontend all\n bind 127.0.0.1:{port} {options} ssl crt {}/both.pem alpn h2,http/1.1\n\
                 http-request return status 200 content-type text/plain {says}\n",
                root.display()
            )
        })
    }

    /// openssl's server for `name`: what comes in lines goes back reversed.
    pub(crate) fn serve_openssl(&self, name: &str) -> Foreign {
        Foreign::start(|port, _| {
            let mut command = Command::new("openssl");
            let (pem, key) = (self.path(name, "pem"), self.path(name, "key"));
            command.args(["s_server", "-quiet", "-rev", "-accept", &format!("127.0.0.1:{port}")]);
            command.args(["-cert", &pem, "-key", &key, "-alpn", "acme-tls/1,h2"]);
            command
        })
    }

    /// curl asks `name` at `to` for `path`, and takes no other certificate than that name's.
    #[track_caller]
    pub(crate) fn curl(&self, name: &str, to: SocketAddr, path: &str, more: &[&str]) -> Output {
        let (pem, port) = (self.path(name, "pem"), to.port());
        let (resolve, url) = (
            format!("{name}:{port}:127.0.0.1"),
            format!("https://{name}:{port}{path}"),
        );
        let mut arguments = vec!["--cacert", &pem, "--resolve", &resolve, &url];
        arguments.extend(more);
        tools::curl(&arguments)
    }
}
