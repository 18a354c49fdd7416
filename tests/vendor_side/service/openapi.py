# Reads the description and real answers (and what was asked) on standard input; fails unless each is as described. Prints
# the operations that were seen.
import json
import sys

from jsonschema import Draft202012Validator, RefResolver

data = json.load(sys.stdin)
document = data["document"]
resolver = RefResolver("", document)


def whole(item):
    while "$ref" in item:
        _, item = resolver.resolve(item["$ref"])
    return item


def check(schema, value, where):
    Draft202012Validator.check_schema(schema)
    errors = [error.message for error in Draft202012Validator(schema, resolver=resolver).iter_errors(value)]
    if errors:
        sys.exit(f"{where}: {errors}\n{json.dumps(value)}")


for schema in document["components"]["schemas"].values():
    Draft202012Validator.check_schema(schema)
assert document["openapi"].startswith("3.1.")
seen = set()
for told in data["told"]:
    where = f"{told['method']} {told['path']} {told['status']}"
    operation = document["paths"][told["path"]][told["method"]]
    if told["status"] not in operation["responses"]:
        sys.exit(f"{where} is not described")
    seen.add(operation["operationId"])
    content = whole(operation["responses"][told["status"]]).get("content")
    if content:
        kind = (told["type"] or "").split(";")[0]
        if kind not in content:
            sys.exit(f"{where}: {kind}")
        check(content[kind]["schema"], told["body"], where)
    if told["status"].startswith("2") and told["asked"] is not None:
        check(whole(operation["requestBody"])["content"]["application/json"]["schema"], told["asked"], where + " asked")
for receipt in data["receipts"]:
    check({"$ref": "#/components/schemas/MeterReceipt"}, receipt, "receipt")
print("\n".join(sorted(seen)))
