import { PolicyPack } from "@pulumi/policy";
import { rules } from "./rules";

/** What `pulumi preview --policy-pack policies` runs. */
new PolicyPack("meteor-scale", { policies: rules });
