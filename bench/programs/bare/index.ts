import * as pulumi from "@pulumi/pulumi";
import { Parameter } from "@pulumi/aws/ssm";

// What registering costs where a program does nothing else.
const count = new pulumi.Config().requireNumber("resources");
for (let number = 0; number < count; number += 1) {
  new Parameter(`parameter${number}`, {
    name: `/bare/${number}`,
    type: "String",
    insecureValue: "nothing",
  });
}
