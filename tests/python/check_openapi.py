"""Validates the document of /openapi.json, and bodies that went over the network against the schemas it gives them.

    check_openapi.py FILE    {"document": .., "bodies": [{"path", "method", "status" (absent: a request),
                             "type" (absent: application/json), "body", "valid" (absent: true)}]}

Exit code 3: the validator is not installed.
"""

import json
import sys

try:
    from openapi_schema_validator import OAS31Validator
    from openapi_spec_validator import OpenAPIV31SpecValidator
except ImportError:
    sys.exit(3)


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        given = json.load(file)
    document = given["document"]
    OpenAPIV31SpecValidator(document).validate()
    for case in given["bodies"]:
        operation = document["paths"][case["path"]][case["method"]]
        place = operation["responses"][case["status"]] if "status" in case else operation["requestBody"]
        content = place["content"]
        schema = content.get(case.get("type", "application/json"), content.get("*/*"))["schema"]
        whole = {**schema, "components": document["components"]}
        errors = [error.message for error in OAS31Validator(whole).iter_errors(case["body"])]
        valid = case.get("valid", True)
        if valid and errors:
            sys.exit(f"{case['method']} {case['path']} {case.get('status')}: {errors}")
        if not valid and not errors:
            sys.exit(f"{case['method']} {case['path']} {case.get('status')}: the schema lets anything through")
    print(len(given["bodies"]))


main()
