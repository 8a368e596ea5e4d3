"""Asks like an application that uses boto3, and holds every byte that comes back to the model that boto3 ships.

    client.py ENDPOINT SUITE [GIVEN]

SUITE is `answers`, `strangers` (a listener with `callers`, which takes the token GIVEN), `tokens` (questions with the tokens that GIVEN holds by
name, in JSON) or `stale` (policies that no longer decide).
"""

import json
import sys
import urllib.request

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT, SUITE = sys.argv[1:3]
failures = []
checked = 0


def connect(**settings):
    settings = {"parameter_validation": False, "retries": {"total_max_attempts": 1}, "read_timeout": 10, **settings}
    client = boto3.client(
        "verifiedpermissions", endpoint_url=ENDPOINT, region_name="us-east-1",
        aws_access_key_id="any", aws_secret_access_key="any", config=Config(**settings),
    )
    client.meta.events.register("after-call", hold_to_model)
    return client


def hold_to_model(http_response, parsed, model, **_):
    """Every member of the response is in the model, of the right type, and every required one is there."""
    global checked
    checked += 1
    body = json.loads(http_response.content)
    media_type = http_response.headers.get("content-type")
    if media_type != "application/x-amz-json-1.0":
        failures.append(f"{model.name}: content type {media_type}")
    if parsed["ResponseMetadata"].get("RequestId") != http_response.headers.get("x-amzn-requestid"):
        failures.append(f"{model.name}: no request id in {parsed['ResponseMetadata']}")
    shape = model.output_shape
    if http_response.status_code >= 300:
        name = body.pop("__type", None)
        shape = next((error for error in model.error_shapes if error.name == name), None)
        if shape is None:
            if name not in ("UnknownOperationException",):
                failures.append(f"{model.name}: the model has no {name}")
            return
        if (http_response.status_code >= 500) != (name == "InternalServerException"):
            failures.append(f"{model.name}: {name} came with {http_response.status_code}")
    compare(body, shape, model.name)


def compare(value, shape, path):
    kinds = {"string": str, "boolean": bool, "long": int, "integer": int, "list": list, "map": dict, "structure": dict}
    if type(value) is not kinds[shape.type_name]:
        failures.append(f"{path}: {value!r} is no {shape.type_name}")
    elif shape.type_name == "structure":
        for name in shape.required_members:
            if name not in value:
                failures.append(f"{path}: {name} is missing")
        if getattr(shape, "is_tagged_union", False) and len(value) != 1:
            failures.append(f"{path}: a union of {len(value)} members")
        for name, member in value.items():
            if name not in shape.members:
                failures.append(f"{path}: the model has no {name}")
            else:
                compare(member, shape.members[name], f"{path}.{name}")
    elif shape.type_name == "list":
        for index, member in enumerate(value):
            compare(member, shape.member, f"{path}[{index}]")
    elif shape.type_name == "map":
        for name, member in value.items():
            compare(member, shape.value, f"{path}.{name}")
    elif shape.type_name == "string" and getattr(shape, "enum", None) and value not in shape.enum:
        failures.append(f"{path}: {value!r} is none of {shape.enum}")


def described(model):
    """What our OpenAPI document says of each shape is what the model says: members, lengths, patterns."""
    with urllib.request.urlopen(f"{ENDPOINT}/openapi.json") as response:
        schemas = json.load(response)["components"]["schemas"]
    structures = (
        "IsAuthorizedInput", "BatchIsAuthorizedInput", "BatchIsAuthorizedInputItem", "EntityIdentifier", "ActionIdentifier", "EntityItem",
        "IsAuthorizedWithTokenInput", "BatchIsAuthorizedWithTokenInput", "BatchIsAuthorizedWithTokenInputItem",
        "IsAuthorizedWithTokenOutput", "BatchIsAuthorizedWithTokenOutput", "BatchIsAuthorizedWithTokenOutputItem",
        "IsAuthorizedOutput", "BatchIsAuthorizedOutput", "BatchIsAuthorizedOutputItem", "DeterminingPolicyItem", "EvaluationErrorItem",
    )
    for name in structures:
        same_members(name, schemas[name]["properties"], model.shape_for(name))
    for name in ("AttributeValue", "ContextDefinition", "EntitiesDefinition"):
        members = {}
        for form in schemas[name]["oneOf"]:
            members.update(form["properties"])
        same_members(name, members, model.shape_for(name))


def same_members(name, properties, shape):
    expect(f"members of {name}", sorted(properties), sorted(shape.members))
    for member, property in properties.items():
        if member in shape.members and member != "policyId" and shape.members[member].type_name == "string":
            limits = shape.members[member].metadata
            pattern = limits.get("pattern", ".*")
            wanted = (limits.get("min"), limits.get("max"), None if pattern == ".*" else f"^(?:{pattern})$")
            expect(f"{name}.{member}", (property.get("minLength"), property.get("maxLength"), property.get("pattern")), wanted)


def user(name):
    return {"entityType": "Depot::User", "entityId": name}


def document(name):
    return {"entityType": "Depot::Document", "entityId": name}


def action(name):
    return {"actionType": "Depot::Action", "actionId": name}


def question(principal="rita", act="view", resource="report", **more):
    return {"principal": user(principal), "action": action(act), "resource": document(resource), **more}


def expect(what, got, *wanted):
    if got not in wanted:
        failures.append(f"{what}: expected {' or '.join(map(repr, wanted))}, got {got!r}")


def decision(client, what, expected, policies=(), errors=0, **arguments):
    arguments = {"policyStoreId": "default", **question(), **arguments}
    try:
        answer = client.is_authorized(**arguments)
    except ClientError as error:
        failures.append(f"{what}: {error}")
        return
    expect(what, answer["decision"], expected)
    expect(what, [policy["policyId"] for policy in answer["determiningPolicies"]], list(policies))
    expect(f"{what}: {answer['errors']}", len(answer["errors"]), errors)


def fails(client, what, name, call, field=None, **members):
    """`call` raises the exception that the SDK has for `name`."""
    try:
        answer = call()
    except getattr(client.exceptions, name) as error:
        response = error.response
        expect(what, response["Error"]["Code"], name)
        expect(what, bool(response["Error"]["Message"]), True)
        for key, value in members.items():
            expect(f"{what}: {key}", response.get(key), value)
        if field is not None:
            expect(what, [found["path"] for found in response.get("fieldList", [])], [field])
        return
    except Exception as error:  # noqa: BLE001 - any other is the failure
        failures.append(f"{what}: expected {name}, got {error!r}")
        return
    failures.append(f"{what}: expected {name}, got {answer}")


def answers():
    client = connect()
    described(client.meta.service_model)
    for store in ("default", "PSEXAMPLE", "policy-store-alias/depot"):
        decision(client, f"allowed in {store}", "ALLOW", ["readers_view"], policyStoreId=store)
    decision(client, "denied by nobody", "DENY", action=action("edit"))
    decision(client, "forbidden", "DENY", ["confidential"], resource=document("secret"))
    decision(client, "by an attribute", "ALLOW", ["owners_edit"], **question("olga", "edit", "plan"))
    decision(client, "an unqualified type", "ALLOW", ["readers_view"],
             principal={"entityType": "User", "entityId": "rita"}, action={"actionType": "Action", "actionId": "view"})
    decision(client, "an unknown action", "DENY", errors=1, action=action("fly"))
    decision(client, "an unknown type", "DENY", errors=1, resource={"entityType": "Ship", "entityId": "1"})
    decision(client, "an undeclared attribute", "DENY", errors=1, context={"contextMap": {"weather": {"string": "fine"}}})
    decision(client, "an attribute of another type", "DENY", errors=1, context={"contextMap": {"urgent": {"long": 1}}})
    decision(client, "the same as text", "DENY", errors=1, context={"cedarJson": '{"weather":"fine"}'})
    decision(client, "a policy that fails", "DENY", errors=1, **inspect({"long": {"long": 2**63 - 1}}))

    # Every member of the union of values, as a map and as text; each has a policy that reads it.
    values = {
        "boolean": ({"boolean": True}, {"boolean": False}, True),
        "entity": ({"entityIdentifier": user("rita")}, {"entityIdentifier": user("olga")}, {"__entity": {"type": "Depot::User", "id": "rita"}}),
        "long": ({"long": 7}, {"long": -(2**63)}, 7),
        "string": ({"string": "\u00fc\u0000\"\\"}, {"string": ""}, "\u00fc\u0000\"\\"),
        "set": ({"set": [{"string": "a"}, {"string": "b"}]}, {"set": []}, ["a", "b"]),
        "record": ({"record": {"inner": {"record": {"deep": {"boolean": True}}}}}, {"record": {}}, {"inner": {"deep": True}}),
        "ipaddr": ({"ipaddr": "10.1.2.3"}, {"ipaddr": "::1"}, {"__extn": {"fn": "ip", "arg": "10.1.2.3"}}),
        "decimal": ({"decimal": "1.2345"}, {"decimal": "-1.5"}, {"__extn": {"fn": "decimal", "arg": "1.2345"}}),
        "datetime": ({"datetime": "2024-10-15T11:35:00Z"}, {"datetime": "2020-01-01"}, {"__extn": {"fn": "datetime", "arg": "2024-10-15T11:35:00Z"}}),
        "duration": ({"duration": "1h30m"}, {"duration": "-5s"}, {"__extn": {"fn": "duration", "arg": "1h30m"}}),
    }
    for name, (right, other, text) in values.items():
        decision(client, name, "ALLOW", [f"is_{name}"], **inspect({name: right}))
        decision(client, f"another {name}", "DENY", **inspect({name: other}))
        decision(client, f"{name} as text", "ALLOW", [f"is_{name}"], **inspect(text={name: text}))
        member = next(iter(right))
        decision(client, f"{name} of an entity", "ALLOW", [f"is_{name}"], **inspect({}, entities={"entityList": [
            {"identifier": document("report"), "attributes": {name: {member: right[member]}}}]}))
        decision(client, f"{name} of an entity as text", "ALLOW", [f"is_{name}"], **inspect({}, entities={"cedarJson": json.dumps(
            [{"uid": {"type": "Depot::Document", "id": "report"}, "attrs": {name: text}, "parents": []}])}))
        decision(client, f"a tag that is a {name}", "DENY", errors=0 if name == "string" else 1,
                 **inspect({}, entities={"entityList": [{"identifier": user("rita"), "tags": {"t": {member: right[member]}}}]}))
    decision(client, "a tag", "ALLOW", ["is_tag"], **inspect({}, entities={"entityList": [
        {"identifier": user("rita"), "tags": {"tier": {"string": "gold"}}}]}))
    reader = {"identifier": user("nia"), "parents": [{"entityType": "Depot::Role", "entityId": "reader"}]}
    decision(client, "someone supplied", "ALLOW", ["readers_view"], principal=user("nia"), entities={"entityList": [reader]})
    decision(client, "the stored one replaced", "DENY", entities={"entityList": [{"identifier": user("rita")}]})
    decision(client, "the last one counts", "ALLOW", ["readers_view"], principal=user("nia"),
             entities={"entityList": [{"identifier": user("nia")}, reader]})
    decision(client, "empty forms", "ALLOW", ["readers_view"], context={"contextMap": {}}, entities={"entityList": []})

    items = [question("rita", "view", name) for name in ("report", "secret", "plan")]
    items[2]["context"] = {"contextMap": {"urgent": {"boolean": True}}}
    items.append(question("rita", "edit", "report", context={"cedarJson": '{"urgent":false}'}))
    items.append(question("rita", "fly", "report"))
    answer = client.batch_is_authorized(policyStoreId="default", requests=items)
    expect("decisions of a batch", [result["decision"] for result in answer["results"]], ["ALLOW", "DENY", "ALLOW", "DENY", "DENY"])
    expect("requests of a batch", [result["request"] for result in answer["results"]], items)
    expect("policies of a batch", answer["results"][1]["determiningPolicies"], [{"policyId": "confidential"}])
    expect("errors of a batch", [len(result["errors"]) for result in answer["results"]], [0, 0, 0, 0, 1])
    both = client.batch_is_authorized(
        policyStoreId="default", requests=[question("nia"), question("olga"), question("rita")], entities={"entityList": [reader]})
    expect("one resource", [result["decision"] for result in both["results"]], ["ALLOW", "DENY", "ALLOW"])
    full = client.batch_is_authorized(policyStoreId="default", requests=[question(resource=f"d{n}") for n in range(30)])
    expect("a full batch", [result["request"]["resource"]["entityId"] for result in full["results"]], [f"d{n}" for n in range(30)])

    validation(client)
    fails(client, "an unknown store", "ResourceNotFoundException", lambda: client.is_authorized(policyStoreId="PSOTHER", **question()),
          resourceId="PSOTHER", resourceType="POLICY_STORE")
    fails(client, "an unknown alias", "ResourceNotFoundException",
          lambda: client.batch_is_authorized(policyStoreId="policy-store-alias/no", requests=[question()]),
          resourceId="policy-store-alias/no", resourceType="POLICY_STORE_ALIAS")
    try:
        client.list_policies(policyStoreId="default")
        failures.append("an operation that is not served was answered")
    except ClientError as error:
        expect("an operation that is not served", error.response["Error"]["Code"], "UnknownOperationException")
    for call in (client.is_authorized_with_token, client.batch_is_authorized_with_token):
        fails(client, "no token", "ValidationException", lambda call=call: call(policyStoreId="default"))


def inspect(context=None, text=None, **more):
    if text is not None:
        more["context"] = {"cedarJson": json.dumps(text)}
    elif context:
        more["context"] = {"contextMap": context}
    return question("rita", "inspect", "report", **more)


def validation(client):
    def single(what, field, **arguments):
        arguments = {"policyStoreId": "default", **question(), **arguments}
        arguments = {name: value for name, value in arguments.items() if value is not None}
        fails(client, what, "ValidationException", lambda: client.is_authorized(**arguments), field)

    def batch(what, field, requests, **arguments):
        call = lambda: client.batch_is_authorized(policyStoreId="default", requests=requests, **arguments)  # noqa: E731
        fails(client, what, "ValidationException", call, field)

    deep = {"boolean": True}
    for _ in range(40):
        deep = {"set": [deep]}
    single("no store", "policyStoreId", policyStoreId=None)
    single("an empty store", "policyStoreId", policyStoreId="")
    single("a long store", "policyStoreId", policyStoreId="a" * 201)
    single("a bad store", "policyStoreId", policyStoreId="a b")
    for member in ("principal", "action", "resource"):
        single(f"no {member}", member, **{member: None})
    single("an empty id", "principal.entityId", principal=user(""))
    single("a long id", "principal.entityId", principal=user("a" * 613))
    single("a long type", "resource.entityType", resource={"entityType": "A" * 201, "entityId": "1"})
    single("a bad type", "resource.entityType", resource={"entityType": "A B", "entityId": "1"})
    single("a long action", "action.actionId", action=action("a" * 513))
    single("no action type", "action.actionType", action={"actionType": "Depot::User", "actionId": "view"})
    single("a bad address", "context.contextMap.a.ipaddr", context={"contextMap": {"a": {"ipaddr": "localhost"}}})
    single("a bad decimal", "context.contextMap.a.set[1].decimal", context={"contextMap": {"a": {"set": [{"boolean": True}, {"decimal": "1.23456"}]}}})
    single("a bad datetime", "context.contextMap.a.record.b.datetime", context={"contextMap": {"a": {"record": {"b": {"datetime": "now"}}}}})
    single("a bad duration", "context.contextMap.a.duration", context={"contextMap": {"a": {"duration": "1y"}}})
    single("a reserved name", "context.contextMap.__extn", context={"contextMap": {"__extn": {"string": "x"}}})
    single("no context", "context", context={})
    single("bad text", "context.cedarJson", context={"cedarJson": "{"})
    single("text that is no object", "context.cedarJson", context={"cedarJson": "[]"})
    single("null in text", "context.cedarJson", context={"cedarJson": '{"urgent":null}'})
    single("a key twice in text", "context.cedarJson", context={"cedarJson": '{"urgent":true,"urgent":false}'})
    single("deep text", "context.cedarJson", context={"cedarJson": '{"a":' * 50 + "1" + "}" * 50})
    single("deep values", None, context={"contextMap": {"a": deep}})
    single("an action among the entities", "entities.entityList",
           entities={"entityList": [{"identifier": {"entityType": "Depot::Action", "entityId": "view"}}]})
    single("a parent without id", "entities.entityList[0].parents[0].entityId",
           entities={"entityList": [{"identifier": user("a"), "parents": [user("")]}]})
    single("large", None, context={"contextMap": {"a": {"string": "x" * 1_100_000}}})
    batch("no requests", "requests", [])
    batch("too many requests", "requests", [question()] * 31)
    batch("nothing in common", "requests", [question("rita", "view", "report"), question("olga", "view", "plan")])
    batch("one bad item", "requests[1].resource.entityId", [question(), question(resource="")])
    batch("too many entities", "entities.entityList", [question()],
          entities={"entityList": [{"identifier": user(f"u{n}")} for n in range(201)]})


def strangers():
    token = sys.argv[3]
    signed = connect()
    fails(signed, "a signature", "AccessDeniedException", lambda: signed.is_authorized(policyStoreId="default", **question()))
    unsigned = connect(signature_version=UNSIGNED)
    fails(unsigned, "nothing", "AccessDeniedException", lambda: unsigned.is_authorized(policyStoreId="default", **question()))
    unsigned.meta.events.register("before-send", lambda request, **_: request.headers.__setitem__("Authorization", f"Bearer {token}"))
    decision(unsigned, "the token of a caller", "ALLOW", ["readers_view"])


def tokens():
    given = json.loads(sys.argv[3])
    client = connect()
    ask = {"policyStoreId": "default", "action": action("view"), "resource": document("report")}
    access, identity = {"accessToken": given["access"]}, {"identityToken": given["identity"]}
    principals = []
    for what, who in (("an access token", access), ("an identity token", identity), ("both", access | identity)):
        answer = client.is_authorized_with_token(**ask, **who)
        expect(what, (answer["decision"], answer["determiningPolicies"]), ("ALLOW", [{"policyId": "readers_view"}]))
        principals.append(answer["principal"])
    expect("the principal", principals, [principals[0]] * 3)
    expect("its type", principals[0]["entityType"], "Depot::User")
    edit = ask | {"action": action("edit")}
    expect("what only access tokens tell", client.is_authorized_with_token(**edit, **identity)["decision"], "DENY")
    answer = client.is_authorized_with_token(**ask, accessToken=given["archivist"])
    expect("an attribute of the directory", (answer["decision"], answer["determiningPolicies"]), ("ALLOW", [{"policyId": "archive"}, {"policyId": "readers_view"}]))
    answer = client.is_authorized_with_token(**ask, accessToken=given["disabled"])
    expect("somebody disabled", (answer["decision"], answer["errors"]), ("DENY", [{"errorDescription": "context: the user is disabled"}]))

    items = [{"action": action("view"), "resource": document(name)} for name in ("report", "plan")]
    items.append({"action": action("fly"), "resource": document("report")})
    items[1]["context"] = {"contextMap": {"urgent": {"boolean": True}}}
    answer = client.batch_is_authorized_with_token(policyStoreId="default", requests=items, **access)
    expect("decisions of a batch", [result["decision"] for result in answer["results"]], ["ALLOW", "ALLOW", "DENY"])
    expect("requests of a batch", [result["request"] for result in answer["results"]], items)
    expect("the principal of a batch", answer["principal"], principals[0])
    answer = client.batch_is_authorized_with_token(policyStoreId="default", requests=items[:1], accessToken=given["disabled"])
    expect("somebody disabled, in a batch", [result["decision"] for result in answer["results"]], ["DENY"])

    for what, who, field in (
        ("tokens of two users", {"accessToken": given["other"]} | identity, "accessToken"),
        ("the wrong kind of token", {"accessToken": given["identity"]}, "accessToken"),
        ("the other wrong kind", {"identityToken": given["access"]}, "identityToken"),
        ("an expired token", {"accessToken": given["expired"]}, "accessToken"),
        ("a spoilt token", {"accessToken": given["access"][:-4] + "AAAA"}, "accessToken"),
    ):
        fails(client, what, "ValidationException", lambda who=who: client.is_authorized_with_token(**ask, **who), field)
        call = lambda who=who: client.batch_is_authorized_with_token(policyStoreId="default", requests=items, **who)  # noqa: E731
        fails(client, f"{what}, in a batch", "ValidationException", call, field)
    call = lambda: client.batch_is_authorized_with_token(policyStoreId="default", requests=items[:1] * 31, **access)  # noqa: E731
    fails(client, "too many requests", "ValidationException", call, "requests")
    full = client.batch_is_authorized_with_token(policyStoreId="default", requests=items[:1] * 30, **access)
    expect("a full batch", len(full["results"]), 30)


def stale():
    client = connect()
    fails(client, "one", "InternalServerException", lambda: client.is_authorized(policyStoreId="default", **question()))
    fails(client, "a batch", "InternalServerException", lambda: client.batch_is_authorized(policyStoreId="default", requests=[question()]))


{"answers": answers, "strangers": strangers, "tokens": tokens, "stale": stale}[SUITE]()
print(f"{checked} responses held to the model")
if failures:
    print("\n".join(failures))
    sys.exit(1)
