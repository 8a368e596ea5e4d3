//! A Cognito user pool of `moto_server`: real users, groups and tokens, and the very API that AWS serves.

use super::http1::exchange;
use super::{PATIENCE, peers, until};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

/// The server, with one pool and one app client.
pub(crate) struct Moto {
    child: Child,
    address: SocketAddr,
    pub(crate) pool: String,
    pub(crate) client: String,
}

/// The tokens of one sign-in.
pub(crate) struct SignIn {
    pub(crate) access: String,
    pub(crate) id: String,
}

const PASSWORD: &str = "Passw0rd!x";

// === impl Moto ===

impl Moto {
    pub(crate) fn start() -> Moto {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let server = peers::program("moto_server");
        let arguments = ["-H", "127.0.0.1", "-p", &address.port().to_string()];
        let child = Command::new(server).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("moto_server starts");
        let mut moto = Moto { child, address, pool: String::new(), client: String::new() };
        // A Python server takes its time on a busy machine.
        until("moto_server to listen", 8 * PATIENCE, || TcpStream::connect(address).ok());
        moto.next_pool();
        moto
    }

    /// Makes a pool with an app client and a group, which is the one that is meant from now on.
    pub(crate) fn next_pool(&mut self) {
        let moto = self;
        let schema = json!([{"Name": "department", "AttributeDataType": "String", "Mutable": true}]);
        let pool = moto.call("CreateUserPool", &json!({"PoolName": "depot", "Schema": schema}));
        moto.pool = pool["UserPool"]["Id"].as_str().unwrap().to_owned();
        let client = moto.in_pool("CreateUserPoolClient", json!({"ClientName": "app", "ExplicitAuthFlows": ["ALLOW_ADMIN_USER_PASSWORD_AUTH"]}));
        moto.client = client["UserPoolClient"]["ClientId"].as_str().unwrap().to_owned();
        moto.in_pool("CreateGroup", json!({"GroupName": "reader"}));
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The `iss` of its tokens, which is AWS's.
    pub(crate) fn issuer(&self) -> String {
        format!("https://cognito-idp.us-east-1.amazonaws.com/{}", self.pool)
    }

    pub(crate) fn jwks_url(&self) -> String {
        format!("{}/{}/.well-known/jwks.json", self.endpoint(), self.pool)
    }

    /// A confirmed user in the group `reader`, and the tokens of a first sign-in.
    pub(crate) fn user(&self, name: &str, department: &str) -> SignIn {
        let attributes = json!([
            {"Name": "email", "Value": format!("{name}@depot.test")},
            {"Name": "email_verified", "Value": "true"},
            {"Name": "custom:department", "Value": department},
        ]);
        self.about(name, "AdminCreateUser", json!({"UserAttributes": attributes}));
        self.about(name, "AdminSetUserPassword", json!({"Password": PASSWORD, "Permanent": true}));
        self.about(name, "AdminAddUserToGroup", json!({"GroupName": "reader"}));
        let credentials = json!({"USERNAME": name, "PASSWORD": PASSWORD});
        let asked = json!({"ClientId": self.client, "AuthFlow": "ADMIN_USER_PASSWORD_AUTH", "AuthParameters": credentials});
        let result = self.in_pool("AdminInitiateAuth", asked);
        let token = |name: &str| result["AuthenticationResult"][name].as_str().unwrap().to_owned();
        SignIn { access: token("AccessToken"), id: token("IdToken") }
    }

    /// A call about one user.
    pub(crate) fn about(&self, user: &str, operation: &str, mut body: Value) -> Value {
        body["Username"] = json!(user);
        self.in_pool(operation, body)
    }

    fn in_pool(&self, operation: &str, mut body: Value) -> Value {
        body["UserPoolId"] = json!(self.pool);
        self.call(operation, &body)
    }

    fn call(&self, operation: &str, body: &Value) -> Value {
        let body = body.to_string();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: pool\r\nConnection: close\r\nX-Amz-Target: AWSCognitoIdentityProviderService.{operation}\r\n\
             Content-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let answer = exchange(self.address, format!("{head}{body}").as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{operation}: {}", answer.text());
        serde_json::from_slice(&answer.body.bytes).unwrap_or_default()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
