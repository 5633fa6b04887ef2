//! The demo's world: authority, certificates, DNS, two configurations, two servers.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, PKCS_ED25519,
    PKCS_RSA_SHA256, RsaKeySize,
};
use waypost_config::{Service, TlsMode};
use waypost_mail::{Address, Domain};
use waypost_mta::authenticity::keys::SigningKey;
use waypost_net::{ClientTls, HeldPort, Verification};

use crate::{
    agent::{Login, Tls},
    cli::Failure,
    demo::dns::{Data, Dns},
    start::{Parts, Running, Server},
};

/// One domain of the demo with its server and its user.
#[derive(Debug)]
pub struct Site {
    /// The domain.
    pub domain: &'static str,
    /// Its user.
    pub user: Address,
    /// The user's password.
    pub password: &'static str,
    /// Host name of its server.
    pub host: String,
    /// The server.
    pub running: Running,
    authority: PathBuf,
}

/// Both domains.
#[derive(Debug)]
pub struct World {
    /// Where mail is written first.
    pub a: Site,
    /// Where it is read.
    pub b: Site,
    dns: Dns,
}

const SITES: [(&str, &str, &str, IpAddr); 2] = [
    ("a.test", "alice@a.test", "alice-password", IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1))),
    ("b.test", "bob@b.test", "bob-password", IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))),
];
const SERVICES: [(&str, &str); 7] = [
    ("submission", "starttls"),
    ("submission", "implicit"),
    ("imap", "starttls"),
    ("imap", "implicit"),
    ("pop3", "starttls"),
    ("pop3", "implicit"),
    ("smtp", "starttls"),
];

impl World {
    /// Makes all below `folder` and starts both servers.
    pub async fn start(folder: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(folder).map_err(|error| at(folder, error))?;
        let authority = Authority::new(folder)?;
        // held until both listen there
        let mx_port = HeldPort::on(&SITES.map(|site| site.3)).map_err(Failure::new)?;
        let hosts = SITES.map(|site| format!("mx.{}", site.0));
        let mut records = Vec::new();
        let mut keys = Vec::new();
        for (site, host) in SITES.iter().zip(&hosts) {
            records.push((site.0.to_owned(), Data::Mx(10, host.clone())));
            records.push((host.clone(), Data::Address(site.3)));
            records.push((host.clone(), Data::Text("v=spf1 ip4:127.0.0.1 -all".to_owned())));
            let own = DkimKeys::new(&folder.join(site.0), site.0)?;
            records.extend(own.records.clone());
            keys.push(own);
        }
        let records: Vec<_> = records.iter().map(|(name, data)| (name.as_str(), data.clone())).collect();
        let dns = Dns::start(&records).await.map_err(Failure::new)?;
        let mut sites = Vec::new();
        for ((site, host), keys) in SITES.iter().zip(&hosts).zip(&keys) {
            let more = format!("[authenticity]\nexempt = []\n\n{}", keys.config);
            sites.push(
                start_site(folder, site, host, &authority, dns.address(), mx_port.port(), &more).await?,
            );
        }
        let (b, a) = (sites.pop(), sites.pop());
        a.zip(b).map(|(a, b)| Self { a, b, dns }).ok_or_else(|| Failure::new("the demo has two sites"))
    }

    /// Stops both servers.
    pub async fn stop(self) {
        let (a, b) = tokio::join!(self.a.running.drain(), self.b.running.drain());
        if !(a && b) {
            tracing::warn!("a session did not end in time");
        }
    }

    /// What one needs to play with the servers.
    pub fn describe(&self, folder: &Path) -> String {
        let folder = folder.display().to_string();
        let site = |site: &Site| {
            let bound: Vec<String> = site.running.bound().iter().map(ToString::to_string).collect();
            let (domain, user, password) = (site.domain, &site.user, site.password);
            format!(
                "{domain}: {folder}/{domain}/waypost.toml, user {user}, password {password}\n    {}",
                bound.join("\n    ")
            )
        };
        let dns = self.dns.address();
        format!(
            "still serving; end with Ctrl-C\nauthority: {folder}/ca.pem\nDNS: {dns}\n{}\n{}\n{}",
            site(&self.a),
            site(&self.b),
            self.suggestion(&folder)
        )
    }

    /// A command that one may try.
    fn suggestion(&self, folder: &str) -> String {
        let Some(address) = self.a.running.address(Service::Submission, TlsMode::Implicit) else {
            return String::new();
        };
        format!(
            "try, in another terminal:\n    echo Hello | waypost send --server {address} --tls implicit --ca {folder}/ca.pem \\\n        \
             --user {from} --from {from} --to {to}",
            from = self.a.user,
            to = self.b.user
        )
    }
}

impl Site {
    /// The user's login.
    pub fn login(&self) -> Login {
        Login { user: self.user.to_string(), password: self.password.to_owned() }
    }

    /// Address and TLS policy of a service with implicit TLS.
    pub fn service(&self, service: Service) -> Result<(SocketAddr, ClientTls), Failure> {
        let address = self.running.address(service, TlsMode::Implicit);
        let address = address.ok_or_else(|| Failure::new("the demo has every service with implicit TLS"))?;
        let verification = Verification::Pkix(vec![self.authority.clone()]);
        Ok((address, ClientTls::new(&self.host, &verification).map_err(Failure::new)?))
    }

    /// How the user submits.
    pub fn submission(&self) -> Result<(SocketAddr, Tls), Failure> {
        self.service(Service::Submission).map(|(address, tls)| (address, Tls::Implicit(tls)))
    }
}

fn at(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::new(format!("{}: {error}", path.display()))
}

async fn start_site(
    folder: &Path,
    (domain, user, password, ip): &(&'static str, &'static str, &'static str, IpAddr),
    host: &str,
    authority: &Authority,
    dns: SocketAddr,
    mx_port: u16,
    more: &str,
) -> Result<Site, Failure> {
    let folder = folder.join(domain);
    authority.issue(host, &folder)?;
    let mut text = format!(
        "hostname = \"{host}\"\nstate_dir = \"state\"\n\n[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n\n\
         [[domain]]\nname = \"{domain}\"\n\n[[account]]\naddress = \"{user}\"\npassword = \"{password}\"\n\n\
         [dns]\nservers = [\"{dns}\"]\n\n[queue]\nmx_port = {mx_port}\n\n{more}"
    );
    let mut held = Vec::new();
    for (service, tls) in SERVICES {
        let own = (service != "smtp").then(|| HeldPort::on(&[*ip])).transpose().map_err(Failure::new)?;
        let port = own.as_ref().map_or(mx_port, HeldPort::port);
        held.extend(own);
        text.push_str(&format!(
            "\n[[listener]]\nservice = \"{service}\"\naddress = \"{}\"\ntls = \"{tls}\"\n",
            SocketAddr::new(*ip, port)
        ));
    }
    let file = folder.join("waypost.toml");
    write_private(&file, &text)?;
    let config = waypost_config::load(&file).map_err(Failure::configuration)?;
    let running = Server::start(config, Parts::default()).await.map_err(Failure::new)?;
    Ok(Site {
        domain,
        user: Address::parse(user).map_err(Failure::new)?,
        password,
        host: host.to_owned(),
        running,
        authority: authority.file.clone(),
    })
}

/// Writes a file that only its owner can read.
pub fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut file = file.map_err(|error| at(path, error))?;
    file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(|error| at(path, error))?;
    file.write_all(text.as_bytes()).map_err(|error| at(path, error))
}

/// Keys that sign for a domain (DKIM): one of RSA, one of Ed25519.
#[derive(Clone, Debug)]
pub struct DkimKeys {
    /// What a configuration says of them.
    pub config: String,
    /// The records that show that mail is from the domain: they, SPF, and DMARC that asks to refuse what is not. On loopback all mail comes
    /// from one address.
    pub records: Vec<(String, Data)>,
}

impl DkimKeys {
    /// Makes keys; they are files in the folder.
    pub fn new(folder: &Path, domain: &str) -> Result<Self, Failure> {
        fs::create_dir_all(folder).map_err(|error| at(folder, error))?;
        let pairs = [
            ("rsa", KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)),
            ("ed25519", KeyPair::generate_for(&PKCS_ED25519)),
        ];
        let mut keys = Self {
            config: String::new(),
            records: vec![
                (domain.to_owned(), Data::Text("v=spf1 ip4:127.0.0.1 -all".to_owned())),
                (format!("_dmarc.{domain}"), Data::Text("v=DMARC1; p=reject".to_owned())),
            ],
        };
        for (selector, pair) in pairs {
            let pem = pair.map_err(Failure::new)?.serialize_pem();
            let file = folder.join(format!("dkim-{selector}.pem"));
            write_private(&file, &pem)?;
            let domain = Domain::new(domain).map_err(Failure::new)?;
            let key = SigningKey::of_pem(domain, selector.to_owned(), &pem).map_err(Failure::new)?;
            keys.records.push((key.record_name(), Data::Text(key.record())));
            keys.config.push_str(&format!(
                "[[dkim.key]]\ndomain = \"{}\"\nselector = \"{selector}\"\nfile = \"{}\"\n\n",
                key.domain(),
                file.display()
            ));
        }
        Ok(keys)
    }
}

/// A throw-away certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes an authority; its certificate is `ca.pem` in the folder.
    pub fn new(folder: &Path) -> Result<Self, Failure> {
        let key = KeyPair::generate().map_err(Failure::new)?;
        let mut params = CertificateParams::new(Vec::new()).map_err(Failure::new)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = name("Waypost throw-away authority");
        let certificate = params.self_signed(&key).map_err(Failure::new)?;
        let file = folder.join("ca.pem");
        fs::write(&file, certificate.pem()).map_err(|error| at(&file, error))?;
        Ok(Self { issuer: Issuer::new(params, key), file })
    }

    /// The authority's certificate.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Issues a certificate for a host and for `localhost`: `cert.pem` and `key.pem` in the folder.
    pub fn issue(&self, host: &str, folder: &Path) -> Result<(), Failure> {
        let key = KeyPair::generate().map_err(Failure::new)?;
        let names =
            vec![host.to_owned(), "localhost".to_owned(), "127.0.0.1".to_owned(), "127.0.0.2".to_owned()];
        let mut params = CertificateParams::new(names).map_err(Failure::new)?;
        params.distinguished_name = name(host);
        let certificate = params.signed_by(&key, &self.issuer).map_err(Failure::new)?;
        write_private(&folder.join("key.pem"), &key.serialize_pem())?;
        let path = folder.join("cert.pem");
        fs::write(&path, certificate.pem()).map_err(|error| at(&path, error))
    }
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}
