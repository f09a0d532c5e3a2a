import type { Provider } from "../definition";
import { cloudwatchResources } from "./cloudwatch";
import { type AwsContext, configuration, configure } from "./context";
import { dlmResources } from "./dlm";
import { ec2Instance } from "./ec2Instance";
import { ec2Network } from "./ec2Network";
import { functions } from "./functions";
import { iamResources } from "./iam";
import { logsResources } from "./logs";
import { route53Resources } from "./route53";
import { s3Resources } from "./s3";
import { snsResources } from "./sns";
import { ssmResources } from "./ssm";

/**
 * The part of @pulumi/aws that the program uses.
 *
 * @param directory where relative paths of assets start
 */
export function awsProvider(directory: string): Provider<AwsContext> {
  return {
    name: "aws",
    version: "7.48.0",
    configuration,
    configure: (values) => configure(values, directory),
    tagRules: ({ tagRules }) => tagRules,
    resources: [
      ...ec2Network,
      ...ec2Instance,
      ...iamResources,
      ...ssmResources,
      ...s3Resources,
      ...route53Resources,
      ...cloudwatchResources,
      ...logsResources,
      ...snsResources,
      ...dlmResources,
    ],
    functions,
  };
}
