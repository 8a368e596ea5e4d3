"""What schemathesis has to know of AWS JSON: that it is JSON."""

import schemathesis

AWS_JSON = "application/x-amz-json-1.0"

schemathesis.serializer.alias(AWS_JSON, "application/json")


@schemathesis.deserializer(AWS_JSON)
def read(context, response):
    return response.json()
